"""Reads and writes XML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, ParseError, indent, parse

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from pathlib import Path


# What no document can hold, however it is written (XML 1.0, production 2).
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_xml(file: Path, root: str) -> Element:
    """The outermost element of a file.

    Raises:
        SetupInvalid: The file cannot be read, is no XML, or has another outermost element.
    """
    try:
        found = parse(file).getroot()  # noqa: S314 - expat refuses entities that explode (since 2.4.1, in Python 3.11)
    except OSError as error:
        raise SetupInvalid([f"cannot read {file}: {error.strerror}"]) from error
    except (ParseError, ValueError, LookupError) as error:  # the others: of encodings that are not known
        raise SetupInvalid([f"{file} is no XML: {error}"]) from error
    if found.tag != root:
        raise SetupInvalid([f"{file}: <{root}> is expected, there is <{found.tag}>"])
    return found


def write_xml(root: Element, file: Path) -> None:
    """Writes an element as a file, in UTF-8, indented.

    Raises:
        SetupInvalid: A text in it can be in no XML.
    """
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if _UNWRITABLE.search(text):
                raise SetupInvalid([f"{text!r} cannot be written as XML; choose another format"])
    indent(root)
    ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
