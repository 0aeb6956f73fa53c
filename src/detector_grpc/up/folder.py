"""The folder that one `up` has to itself for as long as it runs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid
from detector_grpc.lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "up"


@contextmanager
def own_folder(state: Path) -> Iterator[Path]:
    """A folder into which nobody else may look; its files go at the end, or at the next start after a `kill -9`.

    Args:
        state: The folder of the gateway.

    Raises:
        SetupInvalid: It cannot be written, or another `up` has it.
    """
    folder = state / FOLDER
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)  # where somebody else has made it, who may not read the secret
            stack.enter_context(locked(folder))
            _empty(folder)
        except BlockingIOError:
            raise SetupInvalid(
                [f"another `up` runs in {state}; choose another DETECTOR_GATEWAY_STATE or DETECTOR_GATEWAY_PORT"]
            ) from None
        except OSError as error:
            raise SetupInvalid([f"cannot write into {folder} (DETECTOR_GATEWAY_STATE): {error.strerror}"]) from error
        stack.callback(_empty, folder)
        yield folder


def _empty(folder: Path) -> None:
    for path in folder.glob("*"):  # none where somebody has removed the folder
        path.unlink()
