"""REST through a real Envoy: what is promised to REST callers, and what they get where they are wrong."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import psutil
import pytest
from openapi_schema_validator import OAS31Validator
from support.calls import connected, encoded_request
from support.forms import FORM, JSON, form, json_body
from support.gateways import running_gateway
from support.golden import as_golden, golden
from support.http import Answer, ask, post
from support.pictures import noise, png

import detector_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.gateways import Gateway

OPENAPI = Path(detector_grpc.__file__).parent / "gateway" / "openapi.json"
DOCUMENT = json.loads(OPENAPI.read_text(encoding="utf-8"))
MIB = 1024 * 1024

BLANK = png(np.full((64, 64, 3), 114, np.uint8))
FILE = ("file", BLANK)
IMAGE = "image/png"
RECEIVE_TIMEOUT_S = 3


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    plan = {"receive_timeout_s": RECEIVE_TIMEOUT_S}
    with running_gateway(tmp_path_factory.mktemp("gateway"), plan=plan, http=True) as gateway:
        yield gateway


ANSWERS = {
    "predict_form": ("POST", "/predict", FORM, form(FILE)),
    "predict_form_v2": ("POST", "/v2/predict", FORM, form(("conf_threshold", "0.5"), FILE)),
    "predict_json": ("POST", "/v1/predict", JSON, json_body(BLANK, conf_threshold=0.5, classes=["class_1"])),
    "predict_picture": ("POST", "/v1/predict?conf_threshold=0.5&classes=class_0&classes=class_1", IMAGE, BLANK),
    "predict_left_empty": ("POST", "/v1/predict?iou_threshold=&model", FORM, form(FILE, ("conf_threshold", ""))),
    "predict_nothing_found": ("POST", "/v2/predict?conf_threshold=1", "application/octet-stream", BLANK),
    "models": ("GET", "/models", "", b""),
    "model": ("GET", "/models/tiny/versions/v2", "", b""),
}
ERRORS = {
    "no_file_part": ("POST", "/v1/predict", FORM, form(("conf_threshold", "0.5"))),
    "two_file_parts": ("POST", "/v1/predict", FORM, form(FILE, FILE)),
    "empty_body": ("POST", "/v1/predict", FORM, b""),
    "empty_picture": ("POST", "/v1/predict", FORM, form(("file", b""))),
    "wrong_content_type": ("POST", "/v1/predict", "text/plain", BLANK),
    "broken_boundary": ("POST", "/v1/predict", f"{FORM}-another", form(FILE)),
    "form_that_breaks_off": ("POST", "/v1/predict", FORM, form(FILE)[:-9]),
    "threshold_in_form": ("POST", "/v1/predict", FORM, form(FILE, ("conf_threshold", "abc"))),
    "threshold_in_json": ("POST", "/v1/predict", JSON, json_body(BLANK, conf_threshold="abc")),
    "threshold_in_query": ("POST", "/v1/predict?conf_threshold=abc", IMAGE, BLANK),
    "threshold_out_of_range": ("POST", "/v1/predict?conf_threshold=1.5", IMAGE, BLANK),
    "threshold_contradicted": ("POST", "/v1/predict?conf_threshold=0.5", FORM, form(FILE, ("conf_threshold", "0.25"))),
    "version_contradicted": ("POST", "/v1/predict", FORM, form(FILE, ("version", "v2"))),
    "version_contradicted_in_query": ("POST", "/v1/predict?version=v2", IMAGE, BLANK),
    "version_contradicted_in_query_encoded": ("POST", "/v1/predict?%76ersion=v2", IMAGE, BLANK),
    "unknown_query_parameter": ("POST", "/v1/predict?treshold=0.5", IMAGE, BLANK),
    "unknown_form_field": ("POST", "/v1/predict", FORM, form(FILE, ("treshold", "0.5"))),
    "unknown_class": ("POST", "/v1/predict?classes=dog", IMAGE, BLANK),
    "unknown_version": ("POST", "/v9/predict", IMAGE, BLANK),
    "threshold_twice_in_query": ("POST", "/v1/predict?conf_threshold=0.5&conf_threshold=0.25", IMAGE, BLANK),
    "threshold_twice_in_form": ("POST", "/v1/predict", FORM, form(FILE, *(("conf_threshold", t) for t in ("1", "0")))),
    "threshold_twice_in_json": (
        "POST",
        "/v1/predict",
        JSON,
        b'{"image": "", "max_detections": 1, "max_detections": 2}',
    ),
    "query_not_in_ascii": ("POST", "/v1/predict?classes=%ff", IMAGE, BLANK),
    "model_not_in_unicode": ("GET", "/models/%ff/versions/v1", "", b""),
    "parameter_where_none_is_taken": ("GET", "/models?state=ready", "", b""),
    "content_type_not_in_ascii": ("POST", "/v1/predict", "image/\xe4", BLANK),
    "unknown_model": ("POST", "/v1/predict?model=street", IMAGE, BLANK),
    "no_picture": ("POST", "/v1/predict", IMAGE, b"no picture"),
    "no_json": ("POST", "/v1/predict", JSON, b"{'image': ''}"),
    "data_url": ("POST", "/v1/predict", JSON, b'{"image": "data:image/png;base64,AAAA"}'),
    "unknown_path": ("POST", "/v1/predictions", IMAGE, BLANK),
    "wrong_method": ("GET", "/v1/predict", "", b""),
    "too_large": ("POST", "/v1/predict", IMAGE, bytes(16 * MIB)),
    "unknown_version_described": ("GET", "/models/tiny/versions/v9", "", b""),
}


def asked(gateway: Gateway, call: tuple[str, str, str, bytes]) -> Answer:
    method, path, content_type, body = call
    return ask(gateway, method, path, body, {"content-type": content_type} if content_type else {})


@pytest.mark.parametrize("name", [*ANSWERS, *ERRORS])
def test_is_answered_as_the_golden_file_says(gateway: Gateway, name: str) -> None:
    answer = asked(gateway, {**ANSWERS, **ERRORS}[name])

    assert as_golden(answer) == golden(name)
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("name", "path", "verb"),
    [
        *((name, "/predict", "post") for name in ANSWERS if name.startswith("predict")),
        ("models", "/models", "get"),
        ("model", "/models/{model}/versions/{version}", "get"),
        *((name, "/predict", "post") for name in ERRORS if name not in ("wrong_method", "unknown_path")),
    ],
)
def test_is_answered_as_the_description_says(gateway: Gateway, name: str, path: str, verb: str) -> None:
    answer = asked(gateway, {**ANSWERS, **ERRORS}[name])

    described = DOCUMENT["paths"][path][verb]["responses"][str(answer.status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    schema = {**described["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    OAS31Validator(schema).validate(answer.json)


class TestPredict:
    def test_says_what_detect_says(self, gateway: Gateway) -> None:
        with connected(gateway.address) as client:
            expected = client.detect(encoded_request(BLANK, version="v2"))

        answer = post(gateway, "/v2/predict", FORM, form(FILE)).json

        (found,), (same,) = answer["detections"], expected.detections
        assert found == {
            "class_id": same.class_id,
            "class_name": same.class_name,
            "confidence": pytest.approx(same.confidence),
            "bbox": [same.bbox.x_min, same.bbox.y_min, same.bbox.x_max, same.bbox.y_max],
        }

    def test_keeps_the_request_id_of_the_caller(self, gateway: Gateway) -> None:
        for answer in (
            post(gateway, "/v1/predict", FORM, form(FILE), x_request_id="mine"),
            post(gateway, "/v1/predict", FORM, form(), x_request_id="mine"),
        ):
            assert answer.headers["x-request-id"] == "mine"
            told = answer.json.get("request_id") or answer.detail("RequestInfo")["request_id"]
            assert told == "mine"

    def test_takes_ten_megabytes(self, gateway: Gateway) -> None:
        picture = png(noise(1850, 1850))
        assert len(picture) > 10 * MIB * 0.95

        for kind, body in ((IMAGE, picture), (FORM, form(("file", picture))), (JSON, json_body(picture))):
            answer = post(gateway, "/v1/predict", kind, body)

            assert answer.status == 200, answer.json
            assert answer.json["image_shape"] == [1850, 1850, 3]

    def test_takes_a_body_of_the_very_limit(self, gateway: Gateway) -> None:
        limit = int(asked(gateway, ERRORS["too_large"]).detail("ErrorInfo")["metadata"]["maxBytes"])

        answer = post(gateway, "/v1/predict", IMAGE, BLANK + bytes(limit - len(BLANK)))

        assert answer.status in (200, 400)  # never "too large": a PNG with more behind it may be one or none
        assert post(gateway, "/v1/predict", IMAGE, bytes(limit + 1)).status == 413


class TestAnnotate:
    @pytest.mark.parametrize("path", ["/annotate", "/v2/annotate?conf_threshold=0.5"])
    def test_answers_a_jpeg_of_the_same_size(self, gateway: Gateway, path: str) -> None:
        picture = png(np.full((48, 80, 3), 114, np.uint8))

        answer = post(gateway, path, FORM, form(("file", picture)))

        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["x-model-version"] in ("v1", "v2")
        decoded = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape == (48, 80, 3)

    def test_of_a_large_picture_that_was_small_as_a_file_is_answered(self, gateway: Gateway) -> None:
        grain = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
        large = cv2.resize(grain, (8000, 6000))
        _, file = cv2.imencode(".jpg", large, (cv2.IMWRITE_JPEG_QUALITY, 30))

        answer = post(gateway, "/v1/annotate", "image/jpeg", file.tobytes())

        assert answer.status == 200, answer.body
        assert 2 * len(file) > len(answer.body) > len(file)

    def test_says_in_json_what_is_wrong(self, gateway: Gateway) -> None:
        answer = post(gateway, "/annotate", FORM, form())

        assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
        assert answer.violations == ["file"]


class TestHostileCaller:
    def test_that_never_ends_its_upload_is_told_so_and_costs_no_memory(self, gateway: Gateway) -> None:
        server = psutil.Process(gateway.servers[0].process.pid)
        envoy = psutil.Process(gateway.envoy.process.pid)
        before = server.memory_info().rss + envoy.memory_info().rss
        host, _, port = gateway.address.rpartition(":")
        head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 9000000\r\n\r\n"
        connections = [socket.create_connection((host, int(port)), timeout=60) for _ in range(20)]
        started = time.monotonic()
        for connection in connections:
            connection.sendall(head + bytes(100_000))

        statuses = [connection.recv(1000).split(b" ")[1] for connection in connections]

        assert set(statuses) == {b"408"}
        assert time.monotonic() - started < RECEIVE_TIMEOUT_S + 20
        assert server.memory_info().rss + envoy.memory_info().rss - before < 40 * MIB
        for connection in connections:
            connection.close()

    @pytest.mark.parametrize(
        "headers",
        [{"x-bomb": "a" * 100_000}, {f"x-bomb-{number}": "a" for number in range(200)}],
        ids=["one large", "many"],
    )
    def test_that_sends_too_many_headers_is_told_so(self, gateway: Gateway, headers: dict[str, str]) -> None:
        answer = ask(gateway, "POST", "/v1/predict", form(FILE), {"content-type": FORM} | headers)

        assert answer.status == 431
        assert answer.json["details"][0]["reason"] == "HEADERS_TOO_LARGE"
        assert post(gateway, "/v1/predict", FORM, form(FILE)).status == 200


def test_schemathesis_finds_no_server_error_and_nothing_undocumented(gateway: Gateway, tmp_path: Path) -> None:
    checks = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
    checks += ("response_headers_conformance", "response_schema_conformance", "allow_header_conformance")
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{gateway.url}/openapi.json"]
    command += ["--checks", ",".join(checks), "--max-examples", "50", "--seed", "1", "--no-color"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert re.search(r"Tested: +12", done.stdout), done.stdout
