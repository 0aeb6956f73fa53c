"""Copies of calls through a real Envoy: the answers stay as they are, and every copy is accounted for."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import cv2
import pytest
from click.testing import CliRunner
from support.calls import connected, encoded_request, wait_until
from support.gateways import running_gateway
from support.metrics import read_metrics
from support.pictures import noise

from detector_grpc import headers
from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

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
