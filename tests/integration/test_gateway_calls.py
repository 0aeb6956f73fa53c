"""REST, gRPC-Web and streams through Envoy: the same arms, and what is theirs alone."""

from __future__ import annotations

import base64
import struct
import time
from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support import files
from support.calls import DETECT, connected, encoded_request
from support.forms import FORM, form
from support.gateways import running_gateway, tiny_repository
from support.metrics import settled_metrics
from support.pictures import png
from support.rest import Rest
from support.streams import Stream, config, frame

from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectResponse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client
    from support.gateways import Gateway
    from support.servers import ServerProcess

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
REQUEST = encoded_request(PICTURE)
ORIGIN = "http://localhost:3000"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers=2) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _weights(gateway: Gateway) -> None:
    gateway.share(v1=80, v2=20)


@pytest.fixture
def rest(gateway: Gateway) -> Iterator[Rest]:
    with closing(Rest(gateway.address)) as rest:
        yield rest


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    with connected(gateway.address) as client:
        yield client


def version(rest: Rest, path: str = "/predict", **headers: str) -> str:
    """The version that answers a picture."""
    answer = rest("POST", path, PICTURE, "image/png", **headers)
    assert answer.status == 200, answer.body
    return str(answer.json["version"])


class TestRest:
    def test_is_shared_by_weight(self, rest: Rest) -> None:
        calls, share = 2000, 0.2

        answered = Counter(version(rest) for _ in range(calls))

        standard_deviation = (calls * share * (1 - share)) ** 0.5
        assert abs(answered["v2"] - calls * share) <= 5 * standard_deviation

    @pytest.mark.parametrize("wanted", ["v1", "v2"])
    def test_keeps_to_a_pin_in_the_path_and_to_one_in_a_header(self, rest: Rest, wanted: str) -> None:
        assert {version(rest, f"/{wanted}/predict") for _ in range(100)} == {wanted}
        assert {version(rest, x_model_version=wanted) for _ in range(100)} == {wanted}

    def test_the_path_comes_before_the_header(self, rest: Rest) -> None:
        assert {version(rest, "/v2/predict", x_model_version="v1") for _ in range(20)} == {"v2"}

    def test_a_version_that_nobody_holds_is_an_error_wherever_it_is_named(self, rest: Rest) -> None:
        for answer in (
            rest("POST", "/v9/predict", PICTURE, "image/png"),
            rest("POST", "/predict", PICTURE, "image/png", x_model_version="v9"),
            rest("POST", "/predict?version=v9", PICTURE, "image/png"),
        ):
            assert answer.status == 400
            assert 'version "v9"' in answer.json["message"]

    def test_an_arm_that_a_caller_names_is_not_heard(self, gateway: Gateway, rest: Rest) -> None:
        gateway.share(v1=1)

        assert {version(rest, x_detector_arm="v2") for _ in range(50)} == {"v1"}

    def test_a_user_has_the_same_arm_by_grpc(self, rest: Rest, client: Client) -> None:
        for number in range(200):
            name = f"user-{number}"
            key = "x-user-id" if number % 2 else "x-stream-id"
            by_grpc = {client.detect(REQUEST, ((key, name),)).version for _ in range(2)}
            assert by_grpc == {version(rest, **{key.replace("-", "_"): name}) for _ in range(2)}

    def test_the_arm_is_in_a_header_of_every_answer(self, rest: Rest) -> None:
        for path in ("/predict", "/annotate"):
            arms = {rest("POST", path, PICTURE, "image/png").headers["x-detector-arm"] for _ in range(50)}
            assert arms == {"v1", "v2"}
        answer = rest("POST", "/predict", PICTURE, "image/png")
        assert answer.headers["x-detector-arm"] == answer.json["version"]

    def test_how_unsure_the_model_was_is_in_a_header_of_every_answer(self, rest: Rest, client: Client) -> None:
        for path in ("/v1/predict", "/v1/annotate"):
            said = rest("POST", path, PICTURE, "image/png").headers
            answer = client.detect(REQUEST, (("x-model-version", "v1"),))
            assert float(said["x-detector-uncertainty"]) == pytest.approx(answer.uncertainty, abs=1e-6)
            assert said["x-detector-uncertainty-driver"] == answer.uncertainty_driver

    def test_the_arm_is_never_another_version_than_the_one_that_answered(self, rest: Rest) -> None:
        in_form = form(("file", PICTURE), ("version", "v2"))
        for _ in range(20):
            for answer in (
                rest("POST", "/predict?version=v2", PICTURE, "image/png"),
                rest("POST", "/predict", in_form, FORM),
            ):
                assert (answer.json["version"], answer.headers["x-detector-arm"]) == ("v2", "v2")
            drawn = rest("POST", "/annotate?version=v2", PICTURE, "image/png").headers
            assert (drawn["x-model-version"], drawn["x-detector-arm"]) == ("v2", "v2")

    @pytest.mark.parametrize(("path", "headers"), [("/v2/predict", {}), ("/predict", {"x_model_version": "v2"})])
    def test_a_pinned_call_has_no_arm(self, rest: Rest, path: str, headers: dict[str, str]) -> None:
        assert "x-detector-arm" not in rest("POST", path, PICTURE, "image/png", **headers).headers

    @pytest.mark.parametrize("path", ["/v1/predict", "/v9/predict", "/v1/annotate", "/v%31/predict"])
    @pytest.mark.parametrize("query", ["version=v2", "version=%762"])
    def test_what_the_query_says_of_the_version_the_path_does_not_contradict(
        self, rest: Rest, path: str, query: str
    ) -> None:
        answer = rest("POST", f"{path}?{query}", PICTURE, "image/png")

        said = "v9" if "v9" in path else "v1"
        assert (answer.status, answer.json["code"]) == (400, 3)
        assert answer.json["message"] == f'version: must be the same wherever it is given, got "{said}" and "v2"'

    def test_the_version_may_be_said_twice(self, rest: Rest) -> None:
        assert version(rest, "/v2/predict?version=v2") == "v2"

    def test_the_request_id_of_the_caller_comes_back(self, rest: Rest) -> None:
        answer = rest("POST", "/predict", PICTURE, "image/png", x_request_id="mine")

        assert (answer.headers["x-request-id"], answer.json["request_id"]) == ("mine", "mine")

    def test_a_picture_just_under_the_limit_is_looked_at(self, gateway: Gateway, rest: Rest) -> None:
        most = gateway.state.plan().max_body_bytes
        noise = np.random.default_rng(0).integers(0, 256, (2300, 2300, 3), np.uint8)
        large = files.encoded(".jpg", noise, cv2.IMWRITE_JPEG_QUALITY, 100)
        assert 10_000_000 < len(large) < most
        padded = large + bytes(most - len(large))

        for body in (large, padded):
            answer = rest("POST", "/predict", body, "image/jpeg")
            assert answer.status == 200, answer.body
            assert answer.json["image_shape"] == [2300, 2300, 3]
        assert rest("POST", "/predict", padded + b"\0", "image/jpeg").status == 413


class TestGrpcWeb:
    def call(self, rest: Rest, **headers: str) -> tuple[DetectResponse, str]:
        """A call of Detect as a page makes it, and its trailers."""
        message = REQUEST.SerializeToString()
        body = struct.pack(">BI", 0, len(message)) + message
        answer = rest("POST", DETECT, body, "application/grpc-web+proto", origin=ORIGIN, **headers)
        assert answer.status == 200, answer.body
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        (size,) = struct.unpack(">I", answer.body[1:5])
        return DetectResponse.FromString(answer.body[5 : 5 + size]), answer.body[5 + size :].decode("latin-1")

    def test_answers_as_grpc_does(self, rest: Rest) -> None:
        answer, trailers = self.call(rest, x_model_version="v2")

        assert (answer.version, len(answer.detections)) == ("v2", 1)
        assert "grpc-status:0" in trailers

    def test_may_come_as_text(self, rest: Rest) -> None:
        message = REQUEST.SerializeToString()
        body = base64.b64encode(struct.pack(">BI", 0, len(message)) + message)

        kind = "application/grpc-web-text+proto"
        answer = rest("POST", DETECT, body, kind, accept=kind, x_model_version="v2")

        assert answer.status == 200
        decoded = base64.b64decode(answer.body)
        (size,) = struct.unpack(">I", decoded[1:5])
        assert DetectResponse.FromString(decoded[5 : 5 + size]).version == "v2"

    def test_is_shared_by_weight(self, rest: Rest) -> None:
        assert {self.call(rest)[0].version for _ in range(60)} == {"v1", "v2"}


class TestCors:
    def preflight(self, rest: Rest, origin: str, path: str) -> dict[str, str]:
        answer = rest(
            "OPTIONS",
            path,
            origin=origin,
            access_control_request_method="POST",
            access_control_request_headers="content-type,x-grpc-web,x-user-id",
        )
        return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}

    @pytest.mark.parametrize("path", ["/predict", "/v1/predict", "/detector.v1.DetectorService/Detect"])
    @pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://localhost"])
    def test_pages_of_this_machine_may_call(self, rest: Rest, origin: str, path: str) -> None:
        allowed = self.preflight(rest, origin, path)

        assert allowed["access-control-allow-origin"] == origin
        assert "POST" in allowed["access-control-allow-methods"]
        assert "x-user-id" in allowed["access-control-allow-headers"]

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "http://localhost.evil.example", "http://localhost:3000x"]
    )
    def test_pages_of_others_may_not(self, rest: Rest, origin: str) -> None:
        assert self.preflight(rest, origin, "/predict") == {}
        assert "access-control-allow-origin" not in rest("GET", "/models", origin=origin).headers

    @pytest.mark.parametrize(
        ("setting", "origin", "allowed"),
        [
            ("https://app.example", "https://app.example", True),
            ("https://app.example", "https://app.example:8443", False),
            ("https://app.example:*", "https://app.example:8443", True),
            ("*", "https://anything.example", True),
        ],
    )
    def test_who_may_is_a_setting(self, tmp_path: Path, setting: str, origin: str, allowed: bool) -> None:  # noqa: FBT001
        with (
            running_gateway(tmp_path, plan={"cors_origins": (setting,)}) as gateway,
            closing(Rest(gateway.address)) as rest,
        ):
            assert ("access-control-allow-origin" in self.preflight(rest, origin, "/predict")) is allowed


class TestStream:
    def test_keeps_the_arm_that_it_began_with(self, gateway: Gateway, client: Client) -> None:
        gateway.share(v1=50, v2=50)
        with ExitStack() as stack:
            streams = [stack.enter_context(Stream(client)) for _ in range(20)]
            for stream in streams:
                stream.send(config())
            began = [stream.ready().version for stream in streams]
            assert set(began) == {"v1", "v2"}

            gateway.share(v2=1)
            for number, stream in enumerate(streams):
                stream.send(frame(1, PICTURE))
                (found,) = stream.result().detections.detections
                assert found.class_id == int(began[number].removeprefix("v"))
            with Stream(client) as newcomer:
                newcomer.send(config())
                assert newcomer.ready().version == "v2"

    def test_that_names_its_version_says_so_in_its_header(self, client: Client) -> None:
        for _ in range(20):
            with Stream(client) as stream:
                stream.send(config(version="v2"))
                assert stream.ready().version == "v2"
                assert dict(stream.call.initial_metadata())["x-detector-arm"] == "v2"

    def test_of_a_name_has_the_arm_of_its_calls(self, client: Client) -> None:
        for number in range(20):
            name = (("x-stream-id", f"camera-{number}"),)
            with Stream(client, name) as stream:
                stream.send(config())
                assert stream.ready().version == client.detect(REQUEST, name).version

    def test_lives_longer_than_any_call_may(self, tmp_path: Path) -> None:
        timeouts = {"receive_timeout_s": 0.5, "request_timeout_s": 0.5}
        with (
            running_gateway(tmp_path, plan=timeouts) as gateway,
            connected(gateway.address) as client,
            Stream(client) as stream,
        ):
            stream.send(config(), frame(1, PICTURE))
            stream.ready()
            assert stream.result().frame_id == 1
            time.sleep(1.5)  # longer than both
            stream.send(frame(2, PICTURE))
            assert stream.result().frame_id == 2


def detections(server: ServerProcess) -> int:
    """Calls that a server has ended, whatever their end."""
    with connected(server.address) as client:
        metrics = settled_metrics(server, client)
    return int(metrics.total("object_detection_requests_total"))


def test_overload_is_passed_on_and_not_multiplied(tmp_path: Path, half_second: int) -> None:
    repository = tiny_repository(tmp_path / "slow", cost=half_second // 5)
    limits = {"limits_max_queue": 1, "runtime_workers": 1}
    with running_gateway(tmp_path, servers=2, repository=repository, **limits) as gateway:
        with connected(gateway.address) as client:
            calls = [client.start_detect(REQUEST) for _ in range(200)]
            codes = Counter(call.code().name for call in calls)
        attempts = sum(detections(server) for server in gateway.servers)

    assert codes["RESOURCE_EXHAUSTED"] > 100
    assert codes.keys() == {"OK", "RESOURCE_EXHAUSTED"}
    assert attempts == 200
