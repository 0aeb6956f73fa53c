"""What ends gRPC's own server does not end ours."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.calls import SERVING, connected, encoded_request, wait_until
from support.onnx_files import tiny_onnx
from support.pictures import png
from support.raw_calls import raw_call
from support.servers import server_process

from detector_grpc._gen.detector.v1.model_service_pb2 import ListModelsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import ServerProcess

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))
ENDED = "gRPC has ended its server, which has begun anew"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path) as server:
        server.wait_for_log("version ready")
        yield server


def end(server: ServerProcess, address: str, times: int) -> None:
    """Makes the call that gRPC does not survive, and waits until there is another server."""
    raw_call(address, b"/detector.v1.DetectorService/\xff")
    wait_until(lambda: len(server.log(ENDED)) == times, "the server is made anew")


def test_a_path_that_is_no_text_ends_no_server_for_longer_than_a_moment(server: ServerProcess) -> None:
    for times in (1, 2, 3):
        end(server, server.address, times)
        with connected(server.address) as client:
            client.wait_for_status(SERVING)
            assert client.detect(REQUEST).version == "v1"
            assert client.models.ListModels(ListModelsRequest()).default_version == "v1"
    server.send(signal.SIGTERM)
    assert server.wait() == 0


def test_orders_are_taken_again_as_well(server: ServerProcess) -> None:
    end(server, server.admin_address, 1)
    with connected(server.admin_address) as admin:
        admin.unload("v1")
        admin.load("v1")
    server.send(signal.SIGTERM)
    assert server.wait() == 0
