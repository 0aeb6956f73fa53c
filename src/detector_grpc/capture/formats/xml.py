"""Reads XML."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError, parse

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from pathlib import Path


def read_xml(file: Path, root: str) -> Element:
    """The outermost element of a file.

    Raises:
        SetupInvalid: The file cannot be read, is no XML, or has another outermost element.
    """
    try:
        found = parse(file).getroot()  # noqa: S314 - expat refuses entities that explode (since 2.4.1, in Python 3.11)
    except OSError as error:
        raise SetupInvalid([f"cannot read {file}: {error.strerror}"]) from error
    except ParseError as error:
        raise SetupInvalid([f"{file} is no XML: {error}"]) from error
    if found.tag != root:
        raise SetupInvalid([f"{file}: <{root}> is expected, there is <{found.tag}>"])
    return found
