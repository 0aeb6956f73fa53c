"""Brings a model file here and makes it a version of a repository."""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.hub.download import download
from detector_grpc.hub.shelf import digest, place, under_way, version_with
from detector_grpc.hub.source import PullFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from detector_grpc.hub.download import Watcher
    from detector_grpc.hub.source import Source
    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import ModelFile

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Wanted:
    """What is to be brought.

    Attributes:
        source: The file.
        address: Where that is, for going on where an earlier try ended.
        digests: sha256 of the files that will do, in hexadecimal digits; none: whatever comes.
        manifest: The text of the manifest; empty for none.
        repository: Where it belongs.
        model: Name of the model.
        version: Name of the version; empty for the next.
        make: Makes the model file of what has come, beside it; None where that is one.
    """

    source: Source
    address: str
    digests: frozenset[str]
    manifest: str
    repository: Path
    model: str
    version: str = ""
    make: Callable[[Path], Path] | None = None


class Pulled(NamedTuple):
    """What has become of it.

    Attributes:
        version: The version.
        digest: sha256 of its file, in hexadecimal digits.
        came: sha256 of what has come, of which that was made, or which it is.
        is_new: Whether it was not there before.
    """

    version: VersionSource
    digest: str
    came: str
    is_new: bool


def pull(
    wanted: Wanted, watching: AbstractContextManager[Watcher], open_file: Callable[[Path], ModelFile], *, retries: int
) -> Pulled:
    """Brings a model, unless a version of the model has this very file already.

    Args:
        wanted: It.
        watching: Who is told how it goes, as long as it does.
        open_file: Opens a model file.
        retries: Tries after one that has brought nothing.

    Raises:
        PullFailed: It cannot be had, or is not what was meant, or cannot be kept.
        ModelInvalid: It cannot be served.
    """
    if not (wanted.digests or wanted.source.is_authentic):
        raise PullFailed(
            f"{wanted.source.name}: anybody on the way can change what comes by http://; say its sha256, or use https://"
        )
    there = version_with(wanted.repository, wanted.model, wanted.version, wanted.digests)
    if there is not None:
        known = digest(there.path)
        return Pulled(there, known, known, is_new=False)
    _check_place(wanted)
    try:
        with under_way(wanted.repository, wanted.address) as folder:
            with watching as watcher:
                file = download(wanted.source, folder, watcher, retries=retries, is_known=bool(wanted.digests))
            with _emptied(folder):
                found = digest(file)
                if wanted.digests and found not in wanted.digests:
                    raise PullFailed(_other(wanted, found))
                target = (wanted.repository, wanted.model, wanted.version)
                if wanted.make is not None:
                    file = wanted.make(file)
                made = found if wanted.make is None else digest(file)
                return Pulled(place(folder, file, wanted.manifest, target, open_file), made, found, is_new=True)
    except OSError as error:
        advice = "; make room, and the same command goes on from there" if error.errno in _FULL else ""
        raise PullFailed(f"cannot write into {wanted.repository}: {error.strerror}{advice}") from error


def _check_place(wanted: Wanted) -> None:
    """Finds out before anything is brought that it could not stay."""
    folder = wanted.repository / wanted.model / wanted.version
    if wanted.version and folder.exists():
        raise PullFailed(
            f"{wanted.model} {wanted.version} is there already: choose another version, or remove {folder}"
        )


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """What is whole is of no more use there, whatever becomes of it."""
    try:
        yield
    finally:
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def _other(wanted: Wanted, found: str) -> str:
    meant = " or ".join(sorted(wanted.digests))
    return (
        f"{wanted.source.name}: what came has the sha256 {found}, and not {meant}, so it was deleted: the file was "
        "changed on its way or where it lies, or another one was meant"
    )
