"""Predict and Annotate: what REST callers get is what Detect finds, by the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import grpc
import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody
from support import files
from support.calls import SERVING, connected, encoded_request, failure
from support.forms import FORM, JSON, form, json_body
from support.metrics import settled_metrics
from support.onnx_files import Box, tiny_onnx
from support.pictures import jpeg, noise, png, png_that_says
from support.rich_errors import info_of, leak_in, reason_of, violations_of
from support.servers import server_process

from detector_grpc._gen.detector.v1.predict_pb2 import AnnotateRequest, PredictRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.pictures import QrPicture
    from support.servers import ServerProcess

BLANK = png(np.full((64, 64, 3), 114, np.uint8))
V1 = {"model": "tiny", "version": "v1"}
NOBODY = {"model": "", "version": ""}
INVALID = grpc.StatusCode.INVALID_ARGUMENT
KINDS = ["form", "json", "picture"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Client]]:
    """Versions v1 and v2 of a model that finds boxes in every picture, and takes at most 100,000 bytes."""
    repository = tmp_path_factory.mktemp("repository")
    boxes = (Box((16, 8, 48, 40), 0, 0.9), Box((2, 44, 20, 60), 1, 0.3))
    for version in ("v1", "v2"):
        tiny_onnx(repository / "tiny" / version / "model.onnx", boxes=boxes, classes=2, names='["car", "bus"]')
    settings = {"limits_max_message_bytes": 100_000, "models_default_model": "tiny"}
    with server_process(repository=repository, **settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        yield server, client


def body(kind: str, picture: bytes) -> HttpBody:
    if kind == "form":
        return HttpBody(content_type=FORM, data=form(("file", picture)))
    if kind == "json":
        return HttpBody(content_type=JSON, data=json_body(picture))
    return HttpBody(content_type="image/png", data=picture)


def predict(client: Client, picture: bytes = BLANK, kind: str = "picture", metadata: Any = (), **fields: Any) -> Any:
    return client.detector.Predict(PredictRequest(body=body(kind, picture), **fields), timeout=60, metadata=metadata)


def pixels(file: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


class TestPredict:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
    def test_finds_what_detect_finds(self, codes: Client, qr: QrPicture, suffix: str, kind: str) -> None:
        picture = files.encoded(suffix, qr.image)
        expected = codes.detect(encoded_request(picture))

        answer = predict(codes, picture, kind)

        assert answer.version == expected.version == "v1"
        assert answer.image_shape == [360, 480, 3]
        assert answer.confidence_threshold == expected.options.confidence_threshold
        assert 0 < answer.inference_time < 10
        (found,), (same,) = answer.detections, expected.detections
        assert (found.class_id, found.class_name, found.confidence) == (same.class_id, same.class_name, same.confidence)
        assert list(found.bbox) == [same.bbox.x_min, same.bbox.y_min, same.bbox.x_max, same.bbox.y_max]

    @pytest.mark.parametrize("kind", KINDS)
    def test_goes_by_the_options_of_the_query(self, tiny: tuple[ServerProcess, Client], kind: str) -> None:
        client = tiny[1]

        assert [found.class_name for found in predict(client, kind=kind).detections] == ["car", "bus"]
        assert len(predict(client, kind=kind, conf_threshold=0.5).detections) == 1
        assert [found.class_name for found in predict(client, kind=kind, classes=["bus"]).detections] == ["bus"]
        assert len(predict(client, kind=kind, max_detections=1).detections) == 1
        assert predict(client, kind=kind, conf_threshold=0.5).confidence_threshold == 0.5

    def test_goes_by_the_options_of_the_body(self, tiny: tuple[ServerProcess, Client]) -> None:
        client = tiny[1]
        in_form = HttpBody(content_type=FORM, data=form(("conf_threshold", "0.5"), ("file", BLANK), ("version", "v2")))
        in_json = HttpBody(content_type=JSON, data=json_body(BLANK, conf_threshold=0.5, version="v2"))

        for sent in (in_form, in_json):
            answer = client.detector.Predict(PredictRequest(body=sent), timeout=60)

            assert (answer.version, len(answer.detections)) == ("v2", 1)

    @pytest.mark.parametrize(
        ("field", "metadata", "expected"),
        [
            ("", (), "v1"),
            ("", (("x-detector-arm", "v2"),), "v2"),
            ("", (("x-detector-arm", "v1"), ("x-model-version", "v2")), "v2"),
            ("v1", (("x-detector-arm", "v2"), ("x-model-version", "v2")), "v1"),
        ],
    )
    def test_is_answered_by_the_version_that_detect_would_choose(
        self, tiny: tuple[ServerProcess, Client], field: str, metadata: Any, expected: str
    ) -> None:
        assert predict(tiny[1], version=field, metadata=metadata).version == expected

    def test_says_around_the_answer_how_unsure_the_model_was(self, codes: Client, qr: QrPicture) -> None:
        request = PredictRequest(body=body("picture", png(qr.image)), conf_threshold=0.9)

        _, call = codes.detector.Predict.with_call(request, timeout=60)

        alone = codes.detect(encoded_request(png(qr.image)))
        said = dict(call.initial_metadata())
        assert float(said["x-detector-uncertainty"]) == pytest.approx(alone.uncertainty, abs=1e-6)
        assert said["x-detector-uncertainty-driver"] == alone.uncertainty_driver == "expected_error"

    def test_has_the_request_id_of_the_caller(self, tiny: tuple[ServerProcess, Client]) -> None:
        assert predict(tiny[1], metadata=(("x-request-id", "mine"),)).request_id == "mine"


class TestAnnotate:
    @pytest.mark.parametrize("kind", KINDS)
    def test_draws_the_boxes_into_the_picture(self, codes: Client, qr: QrPicture, kind: str) -> None:
        picture = png(qr.image)
        (found,) = codes.detect(encoded_request(picture)).detections
        left, top, bottom = (round(edge) for edge in (found.bbox.x_min, found.bbox.y_min, found.bbox.y_max))

        answer = codes.detector.Annotate(AnnotateRequest(body=body(kind, picture)), timeout=60)

        assert answer.content_type == "image/jpeg"
        changed = np.abs(pixels(answer.data).astype(int) - qr.image).max(axis=2)
        assert changed.shape == (360, 480)
        assert changed[top:bottom, left].min() > 60
        assert np.median(changed) < 10

    def test_answers_the_upright_picture_in_its_own_size(self, tiny: tuple[ServerProcess, Client]) -> None:
        lying = files.jpeg_with(jpeg(np.full((200, 300, 3), 114, np.uint8)), b"Exif\0\0" + files.exif(6))

        answer = tiny[1].detector.Annotate(AnnotateRequest(body=body("form", lying)), timeout=60)

        assert pixels(answer.data).shape == (300, 200, 3)

    def test_says_around_the_picture_who_looked_at_it(self, tiny: tuple[ServerProcess, Client]) -> None:
        request = AnnotateRequest(body=body("picture", BLANK), version="v2")

        _, call = tiny[1].detector.Annotate.with_call(request, timeout=60, metadata=(("x-request-id", "mine"),))

        assert dict(call.initial_metadata())["x-model-version"] == "v2"
        assert dict(call.trailing_metadata())["x-request-id"] == "mine"

    def test_of_a_picture_that_no_jpeg_can_hold_is_refused(self, codes: Client) -> None:
        request = AnnotateRequest(body=body("picture", png(np.zeros((1, 65501, 3), np.uint8))))

        error = failure(lambda: codes.detector.Annotate(request, timeout=60))

        assert error.code() is INVALID
        assert violations_of(error)["image"].startswith("a side of an annotated picture must have at most 65500 pixels")


class TestBadInput:
    @pytest.mark.parametrize("method", ["Predict", "Annotate"])
    @pytest.mark.parametrize(
        ("content_type", "data", "fields", "wrong"),
        [
            ("", b"", {}, "body"),
            ("text/plain", BLANK, {}, "body.content_type"),
            (FORM, form(("version", "v1")), {}, "file"),
            (FORM, form(("file", BLANK), ("file", BLANK)), {}, "file"),
            (FORM, form(("file", BLANK))[:-9], {}, "body"),
            ("multipart/form-data; boundary=other", form(("file", BLANK)), {}, "body"),
            (FORM, form(("file", BLANK), ("conf_threshold", "abc")), {}, "conf_threshold"),
            (FORM, form(("file", BLANK), ("conf_threshold", "1.5")), {}, "conf_threshold"),
            (FORM, form(("file", BLANK), ("conf_threshold", "0.5")), {"conf_threshold": 0.25}, "conf_threshold"),
            (FORM, form(("file", BLANK), ("treshold", "0.5")), {}, "treshold"),
            (JSON, b'{"image": "data:image/png;base64,AAAA"}', {}, "image"),
            ("image/png", BLANK, {"iou_threshold": -1}, "iou_threshold"),
            ("image/png", BLANK, {"classes": ["dog"]}, "classes"),
            ("image/png", b"no picture", {}, "image"),
            (FORM, form(("file", b"")), {}, "image"),
            ("image/png", png_that_says(60_000, 60_000), {}, "image"),
        ],
    )
    def test_is_named_and_nothing_leaks(
        self,
        tiny: tuple[ServerProcess, Client],
        method: str,
        content_type: str,
        data: bytes,
        fields: dict[str, Any],
        wrong: str,
    ) -> None:
        message = PredictRequest if method == "Predict" else AnnotateRequest
        request = message(body=HttpBody(content_type=content_type, data=data), **fields)

        error = failure(lambda: getattr(tiny[1].detector, method)(request, timeout=60))

        assert error.code() is INVALID
        assert list(violations_of(error)) == [wrong]
        assert info_of(error).domain == "detector.v1"
        assert not leak_in(error)

    def test_of_more_bytes_than_the_limit_is_refused_with_both(self, tiny: tuple[ServerProcess, Client]) -> None:
        error = failure(lambda: predict(tiny[1], noise(300, 200).tobytes()))

        assert reason_of(error) == "MESSAGE_TOO_LARGE"
        assert info_of(error).metadata["maxBytes"] == "100000"

    def test_of_a_version_that_is_not_held_never_gets_another(self, tiny: tuple[ServerProcess, Client]) -> None:
        assert reason_of(failure(lambda: predict(tiny[1], version="v9"))) == "MODEL_VERSION_NOT_HELD"


CALLS = {
    "good": ({}, "image/png", BLANK, V1, "ok"),
    "no picture": ({}, "image/png", b"no picture", V1, "invalid_argument"),
    "unknown class": ({"classes": ["dog"]}, "image/png", BLANK, V1, "invalid_argument"),
    "broken form": ({}, FORM, b"no form", NOBODY, "invalid_argument"),
    "unknown version": ({"version": "v9"}, "image/png", BLANK, NOBODY, "failed_precondition"),
}


@pytest.mark.parametrize("method", ["Predict", "Annotate"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_counted_and_logged_once_where_it_belongs(
    tiny: tuple[ServerProcess, Client], method: str, name: str
) -> None:
    server, client = tiny
    fields, content_type, data, labels, status = CALLS[name]
    message = PredictRequest if method == "Predict" else AnnotateRequest
    request = message(body=HttpBody(content_type=content_type, data=data), **fields)
    before = settled_metrics(server, client)
    request_id = f"{method}-{name}".replace(" ", "-")

    call = getattr(client.detector, method).future(request, timeout=60, metadata=(("x-request-id", request_id),))
    assert call.code().name.lower() == status

    after = settled_metrics(server, client)
    name = "object_detection_requests_total"
    assert after.value(name, **labels, status=status) == before.total(name, **labels, status=status) + 1
    assert after.total(name) == before.total(name) + 1
    runs = "object_detection_inference_duration_seconds_count"
    assert after.total(runs) == before.total(runs) + (status == "ok")
    (line,) = server.log("call", request_id=request_id)
    told = {key: line[key] for key in ("method", "code", "model", "version")}
    assert told == {"method": f"/detector.v1.DetectorService/{method}", "code": status.upper(), **labels}
