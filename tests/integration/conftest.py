"""Servers that several tests share, because none of them changes what the others see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.calls import SERVING, connected
from support.onnx_files import cost_of
from support.pictures import qr_picture
from support.servers import BUNDLED_MODELS, server_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.pictures import QrPicture
    from support.servers import ServerProcess


@pytest.fixture(scope="session")
def codes_server() -> Iterator[ServerProcess]:
    """A server of the bundled detector of codes, in versions v1 and v2."""
    with server_process(repository=BUNDLED_MODELS) as server:
        yield server


@pytest.fixture(scope="session")
def codes(codes_server: ServerProcess) -> Iterator[Client]:
    """A client of `codes_server`, whose versions are loaded."""
    with connected(codes_server.address) as client:
        client.wait_for_status(SERVING)
        yield client


@pytest.fixture(scope="session")
def qr() -> QrPicture:
    return qr_picture()


@pytest.fixture(scope="session")
def half_second(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The cost of a model that takes about half a second for a picture."""
    return cost_of(0.5, tmp_path_factory.mktemp("cost"))
