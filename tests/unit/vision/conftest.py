from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@pytest.fixture
def quiet_decoders() -> Iterator[None]:
    """The C libraries behind OpenCV complain about broken files on file descriptor 2."""
    with _stderr_to_nowhere():
        yield
