"""Copies of calls through a real Envoy: the answers stay as they are, and every copy is accounted for."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import cv2
import pytest
from click.testing import CliRunner
from support.calls import connected, encoded_request, wait_until
from support.forms import FORM, JSON, form, json_body
from support.gateways import running_gateway
from support.http import post
from support.metrics import read_metrics
from support.onnx_files import Box, tiny_onnx
from support.pictures import noise, png

from detector_grpc import headers
from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.gateways import Gateway

CALLS = 40
PAIR = {"model": "tiny", "version": "v1", "shadow": "v2"}
COPIES = "object_detection_shadow_copies_total"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    key = folder / "key"
    key.write_bytes(b"a secret of sixteen bytes or more")
    port = free_port()
    with running_gateway(
        folder, servers=2, plan={"port": port}, http=True, gateway_port=port, streams_resume_key_file=key
    ) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def picture() -> bytes:
    """About 3 MB, as cameras make them."""
    encoded = cv2.imencode(".jpg", noise(1500, 1100), [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    assert len(encoded) > 2_500_000
    return encoded


def total(gateway: Gateway, name: str, **labels: str) -> float:
    return sum(read_metrics(server).total(name, **labels) for server in gateway.servers)


def traffic(gateway: Gateway, *words: str) -> str:
    """What a command that succeeds prints."""
    command, *rest = words
    result = CliRunner().invoke(main, ["traffic", command, "--state", str(gateway.state.folder), *rest])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_answers_stay_as_they_are_and_every_copy_is_compared_or_counted(gateway: Gateway, picture: bytes) -> None:
    gateway.share(v1=100)
    with connected(gateway.address) as client:
        request = encoded_request(picture)
        before = [client.detect(request).detections for _ in range(3)]
        counted = total(gateway, "object_detection_requests_total", version="v2")
        gateway.share(shadow={"v2": 1.0}, v1=100)
        answers = [client.detect(request) for _ in range(CALLS)]
    assert all(answer.version == "v1" and answer.detections == before[0] for answer in answers)
    wait_until(lambda: total(gateway, COPIES, **PAIR) == CALLS, "every copy")
    compared = total(gateway, COPIES, **PAIR, outcome="compared")
    assert compared + total(gateway, COPIES, **PAIR, outcome="dropped") == CALLS
    assert compared > 0
    # Each version finds the same box, of a class of its own.
    assert total(gateway, "object_detection_shadow_boxes_total", **PAIR, outcome="class_differs") == compared
    assert total(gateway, "object_detection_requests_total", version="v2") == counted


def test_copies_are_known_in_the_log(gateway: Gateway, picture: bytes) -> None:
    gateway.share(shadow={"v2": 1.0}, v1=100)
    with connected(gateway.address) as client:
        answer = client.detect(encoded_request(picture))
    wait_until(lambda: any(server.log("call", copy_of=answer.request_id) for server in gateway.servers), "the copy")
    (copy,) = (entry for server in gateway.servers for entry in server.log("call", copy_of=answer.request_id))
    assert (copy["version"], copy["code"]) == ("v2", "OK")


def test_only_the_gateway_chooses_calls_and_only_servers_mark_copies(gateway: Gateway, picture: bytes) -> None:
    gateway.share(v1=100)
    before = total(gateway, COPIES), total(gateway, "object_detection_requests_total", version="v1", status="ok")
    with connected(gateway.address) as client:
        client.detect(encoded_request(picture), metadata=((headers.SHADOW, "v2"),))
        client.detect(encoded_request(picture), metadata=((headers.COPY_OF, "0.made-up"),))
    wait_until(
        lambda: total(gateway, "object_detection_requests_total", version="v1", status="ok") == before[1] + 2, "both"
    )
    assert total(gateway, COPIES) == before[0]


def test_calls_that_choose_their_version_themselves_are_not_copied(gateway: Gateway, picture: bytes) -> None:
    gateway.share(shadow={"v2": 1.0}, v1=100)
    before = total(gateway, COPIES)
    with connected(gateway.address) as client:
        client.detect(encoded_request(picture, version="v2"))
        client.detect(encoded_request(picture, version="v1"))
        client.detect(encoded_request(picture), metadata=((headers.PINNED_VERSION, "v1"),))
        client.detect(encoded_request(picture))
    wait_until(lambda: total(gateway, COPIES) > before, "the copy of the last one")
    assert total(gateway, COPIES) == before + 1


BOXES = (Box((16, 8, 48, 40), 0, 0.9), Box((2, 44, 20, 60), 1, 0.4))
OPTIONS: list[dict[str, str]] = [{}, {"conf_threshold": "0.5"}, {"classes": "class_1"}, {"max_detections": "1"}]
CALLERS = 8


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of two versions that see the same, whose servers send fewer copies than they are asked for."""
    folder = tmp_path_factory.mktemp("twins")
    key = folder / "key"
    key.write_bytes(b"a secret of sixteen bytes or more")
    for version in ("v1", "v2"):
        tiny_onnx(folder / "models" / "tiny" / version / "model.onnx", boxes=BOXES, classes=2)
    port = free_port()
    with running_gateway(
        folder,
        servers=2,
        plan={"port": port},
        repository=folder / "models",
        gateway_port=port,
        shadow_max_per_s=20,
        streams_resume_key_file=key,
    ) as gateway:
        yield gateway


def test_copies_of_calls_of_rest_that_come_at_once_see_what_the_calls_see(twins: Gateway, picture: bytes) -> None:
    small = png(noise(64, 48))
    bodies = [
        *((FORM, lambda said, file=file: form(("file", file), *said.items())) for file in (small, picture)),
        *(("image/png", lambda _, file=file: file) for file in (small, picture)),
        *((JSON, lambda said, file=file: in_json(file, said)) for file in (small, picture)),
    ]
    calls = [(path, *body, said) for path in ("/predict", "/annotate") for body in bodies for said in OPTIONS]

    def answer(call: tuple[str, str, Callable[[dict[str, str]], bytes], dict[str, str]]) -> Any:
        path, kind, body, said = call
        query = "" if kind in (FORM, JSON) else f"?{urlencode(said)}"
        answered = post(twins, path + query, kind, body(said))
        assert answered.status == 200, answered.body
        return answered.json["detections"] if path == "/predict" else answered.body

    twins.share(v1=100)
    before = [answer(call) for call in calls]
    assert len(before[0]) == 2
    counted = total(twins, "object_detection_requests_total", version="v2")
    twins.share(shadow={"v2": 1.0}, v1=100)
    with ThreadPoolExecutor(CALLERS) as callers:
        assert list(callers.map(answer, calls * 2)) == before * 2
    chosen = 2 * len(calls)
    wait_until(lambda: total(twins, COPIES, **PAIR) == chosen, "every copy")
    compared = total(twins, COPIES, **PAIR, outcome="compared")
    assert compared > 0
    assert compared + total(twins, COPIES, **PAIR, outcome="dropped") == chosen
    assert total(twins, "object_detection_shadow_pictures_total", **PAIR, same="true") == compared
    boxes = "object_detection_shadow_boxes_total"
    # Were options not copied, the copies would see more: two boxes, where half of the calls ask for one.
    assert total(twins, boxes, **PAIR) == total(twins, boxes, **PAIR, outcome="agree") > compared
    assert total(twins, "object_detection_requests_total", version="v2") == counted


def in_json(picture: bytes, said: dict[str, str]) -> bytes:
    """An object that says what these texts say."""
    read = {"conf_threshold": float, "classes": lambda name: [name], "max_detections": int}
    return json_body(picture, **{name: read[name](text) for name, text in said.items()})


def test_compare_says_how_far_they_agree(gateway: Gateway, picture: bytes) -> None:
    gateway.share(shadow={"v2": 1.0}, v1=100)
    already = total(gateway, COPIES)
    with connected(gateway.address) as client:
        for _ in range(CALLS):
            client.detect(encoded_request(picture))
    wait_until(lambda: total(gateway, COPIES) == already + CALLS, "every copy")
    result = traffic(gateway, "compare", "--json")
    (found,) = json.loads(result)
    assert {name: found[name] for name in PAIR} == PAIR
    assert found["selected"] == found["compared"] + found["failed"] + found["dropped"] == already + CALLS
    assert found["boxes"]["class_differs"] == found["compared"]
    assert found["same_boxes"]["value"] == 0
    text = traffic(gateway, "compare")
    assert "v2 sees something else than v1" in " ".join(text.split())
