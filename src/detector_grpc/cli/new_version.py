"""The folder of a version that a command makes: it appears complete, in one step, or not at all."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid
from detector_grpc.serving.repository import check_names

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_new(output: Path) -> None:
    """Refuses a folder that is there, or is no `<model>/<version>`.

    Raises:
        SetupInvalid: It is there.
        InvalidRequest: Its name or that of the folder around it cannot be that of a version and a model.
    """
    check_names(output.absolute().parent.name, output.name)
    if output.exists():
        raise SetupInvalid([f"{output} exists: a new version takes a folder of its own"])


@contextmanager
def staging(output: Path | None) -> Iterator[Path]:
    """A folder to make versions in, which goes again.

    Args:
        output: Where one will be moved; the folder is on the same disk. None: none will.

    Raises:
        SetupInvalid: Nothing can be written there.
    """
    parent = None
    try:
        if output is not None:
            parent = output.parent
            parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".making-", dir=parent)
    except OSError as error:
        raise SetupInvalid([f"cannot write to {parent or tempfile.gettempdir()}: {error.strerror}"]) from error
    with temporary as folder:
        yield Path(folder)
