"""What callers prove themselves with stays out of the log, however they write it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import grpc
import pytest
import yaml
from support.calls import connected, failure, wait_until
from support.onnx_files import tiny_onnx
from support.raw_calls import raw_call
from support.servers import server_process

from detector_grpc._gen.detector.v1.model_service_pb2 import ListModelsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import ServerProcess

PROOF = "of ann, and of nobody else"
LIST = b"/detector.v1.ModelService/ListModels"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("secrets")
    tiny_onnx(folder / "models" / "tiny" / "v1" / "model.onnx")
    entry = {"caller": "ann", "token_sha256": hashlib.sha256(PROOF.encode()).hexdigest(), "classes": ["read"]}
    callers = folder / "callers.yaml"
    callers.write_text(yaml.safe_dump([entry]))
    with server_process(repository=folder / "models", auth_callers_file=callers) as server:
        server.wait_for_log("version ready")
        yield server


def test_a_header_that_is_no_text_is_told_of_and_not_shown(server: ServerProcess) -> None:
    raw_call(server.address, LIST, (b"authorization", f"Bearer {PROOF}\xff".encode("latin-1")))

    told = server.wait_for_log("a header of a call is not UTF-8; what it says is not shown, since it may be a secret")
    assert told["level"] == "WARNING"
    assert server.wait_for_log("call", method=LIST.decode())["code"] == "UNAUTHENTICATED"
    assert PROOF not in server.text
    assert "Traceback" not in server.text
    assert len(server.lines) == len(server.log())  # nothing but JSON


def test_a_header_that_is_no_text_keeps_nobody_from_calling(server: ServerProcess) -> None:
    known = (b"authorization", f"Bearer {PROOF}".encode())
    for name in (b"x-request-id", b"x-model-version", b"x-anything"):
        raw_call(server.address, LIST, known, (name, b"jalape\xf1o"))
    with connected(server.address) as client:
        client.models.ListModels(ListModelsRequest(), metadata=(("authorization", f"Bearer {PROOF}"),))

    wait_until(lambda: len(server.log("call", caller="ann")) == 4, "the lines of all calls")
    assert {entry["code"] for entry in server.log("call", caller="ann")} == {"OK"}
    assert "jalape" not in server.text


def test_a_token_that_is_not_known_is_not_shown(server: ServerProcess) -> None:
    with connected(server.address) as client:
        metadata = (("authorization", "Bearer guessed-by-somebody"),)
        error = failure(lambda: client.models.ListModels(ListModelsRequest(), metadata=metadata))

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "guessed" not in error.details() + server.text
