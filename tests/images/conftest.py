"""Images are built once for all tests of them."""

from __future__ import annotations

import pytest
from support.podman import Podman


@pytest.fixture(scope="session")
def podman() -> Podman:
    podman = Podman()
    podman.build()
    return podman
