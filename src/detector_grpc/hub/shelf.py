"""The place of models in a repository: where a version goes, and how it gets there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import itertools
import re
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from detector_grpc.errors import ModelInvalid
from detector_grpc.hub.source import PullFailed
from detector_grpc.lock import locked
from detector_grpc.serving.graph import has_external_data
from detector_grpc.serving.registry import read_version
from detector_grpc.serving.repository import MODEL_FILE, NAME, UNDER_WAY, stored
from detector_grpc.vision.decode import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import ModelFile

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LENGTH = 63

# What the system says where there is something of a name.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def model_name(file: str) -> str:
    """A name of a model made of the name of a file, whatever that is made of."""
    stem = file.rpartition(".")[0] or file
    return _NO_NAME.sub("-", stem).strip("-._")[:_NAME_LENGTH] or "model"


@contextmanager
def under_way(repository: Path, address: str) -> Iterator[Path]:
    """The folder of what comes from an address, for this process alone; it is gone afterwards only if it is empty.

    Raises:
        PullFailed: The repository cannot be written, or another process brings the same.
    """
    folder = repository / UNDER_WAY / hashlib.sha256(address.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            yield folder
    except BlockingIOError:
        raise PullFailed("another process is bringing the same file; wait for it") from None
    finally:
        for each in (folder, folder.parent):
            with suppress(OSError):
                each.rmdir()


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_with(repository: Path, model: str, version: str, digests: Collection[str]) -> VersionSource | None:
    """That version of the model, or by an empty name any, if its file has one of these digests."""
    for source in _versions(repository, model):
        with suppress(OSError):
            if version in ("", source.version) and digest(source.path) in digests:
                return source
    return None


def place(
    folder: Path,
    file: Path,
    manifest: str,
    target: tuple[Path, str, str],
    open_file: Callable[[Path], ModelFile],
) -> VersionSource:
    """Makes a file a version, if it can be served.

    Args:
        folder: Of what is under way, on the same disk as the repository.
        file: In this folder; gone afterwards.
        manifest: The text of its manifest; empty for none.
        target: The repository, the model and the version; the latter is empty for the next.
        open_file: Opens a model file.

    Raises:
        ModelInvalid: It cannot be served.
        PullFailed: There is such a version already.
        OSError: It cannot be written.
    """
    repository, model, version = target
    new = stored(folder / "new")
    shutil.rmtree(new.path.parent, ignore_errors=True)
    new.path.parent.mkdir()
    file.rename(new.path)
    if manifest:
        new.manifest_path.write_text(manifest, encoding="utf-8")
    try:
        _check(new, open_file)
        return stored(_move(new.path.parent, repository / model, version))
    finally:
        shutil.rmtree(new.path.parent, ignore_errors=True)


def _check(new: VersionSource, open_file: Callable[[Path], ModelFile]) -> None:
    if has_external_data(new.path.read_bytes()):
        raise ModelInvalid("its weights lie in another file, and one file is all that was brought")
    try:
        read_version(new, open_file, MAX_PIXELS).pipeline.close()
    except ModelInvalid as error:  # where it lies now is nobody's business
        raise ModelInvalid(error.message.replace(f"{new.path.parent}/", "")) from error


def _move(new: Path, model: Path, version: str) -> Path:
    """Puts the folder of a version where it belongs; of two processes that want the same place, only one gets it."""
    model.mkdir(exist_ok=True)
    for name in [version] if version else _next_names(model):
        try:
            return new.rename(model / name)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
    raise PullFailed(f"{model.name} {version} is there already: choose another version, or remove {model / version}")


def _next_names(model: Path) -> Iterator[str]:
    """v1, v2, …, after the highest that there is."""
    numbers = [int(each.name[1:]) for each in model.iterdir() if re.fullmatch(r"v\d+", each.name)]
    return (f"v{number}" for number in itertools.count(max(numbers, default=0) + 1))


def _versions(repository: Path, model: str) -> Iterator[VersionSource]:
    folder = repository / model
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            if NAME.fullmatch(each.name) and (each / MODEL_FILE).is_file():
                yield stored(each)
