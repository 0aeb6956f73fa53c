"""Between messages and values."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.sessions import FakeSession

from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2, image_pb2, model_service_pb2
from detector_grpc.errors import InvalidRequest
from detector_grpc.rpc import convert
from detector_grpc.serving.inputs import ImageInput
from detector_grpc.serving.layouts import Layout
from detector_grpc.serving.options import DetectOptions, RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage, PictureRequest, Pipeline, RawImage, Result, Timing
from detector_grpc.serving.registry import LoadedModel, ModelState, ModelVersion
from detector_grpc.serving.repository import stored
from detector_grpc.serving.spec import ModelSpec
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.uncertainty import Uncertainty

ENCODED = image_pb2.Image(encoded=b"picture")


def request(**options: object) -> detector_service_pb2.DetectRequest:
    return detector_service_pb2.DetectRequest(image=ENCODED, options=detection_pb2.DetectOptions(**options))


def violations(message: detector_service_pb2.DetectRequest) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        convert.parse_detect(message)
    return [tuple(violation) for violation in caught.value.violations]


def test_what_is_unset_stays_unset() -> None:
    parsed = convert.parse_detect(detector_service_pb2.DetectRequest(image=ENCODED))
    assert parsed == PictureRequest(EncodedImage(b"picture"), None, RequestedOptions())


def test_zero_and_false_are_values() -> None:
    options = convert.parse_detect(
        request(confidence_threshold=0, iou_threshold=0, multi_label=False, class_agnostic_nms=False)
    ).options
    assert options == RequestedOptions(
        confidence_threshold=0.0, iou_threshold=0.0, multi_label=False, class_agnostic_nms=False
    )
    assert options.multi_label is False


def test_every_field_is_read() -> None:
    message = request(
        confidence_threshold=0.25,
        iou_threshold=0.5,
        multi_label=True,
        class_agnostic_nms=True,
        max_detections=7,
        class_confidence_thresholds={"car": 0.75, "bus": 1.0},
        classes=["car", "bus"],
    )
    message.source_size.width, message.source_size.height = 1920, 1080
    parsed = convert.parse_detect(message)
    assert parsed.source_wh == (1920, 1080)
    assert parsed.options == RequestedOptions(0.25, 0.5, True, True, 7, {"car": 0.75, "bus": 1.0}, ("car", "bus"))  # noqa: FBT003


@pytest.mark.parametrize("name", ["RGB24", "BGR24", "GRAY8"])
def test_raw_pictures_keep_their_format(name: str) -> None:
    raw = image_pb2.RawImage(data=b"123", size=image_pb2.ImageSize(width=3, height=1), format=f"PIXEL_FORMAT_{name}")
    parsed = convert.parse_detect(detector_service_pb2.DetectRequest(image=image_pb2.Image(raw=raw)))
    assert parsed.image == RawImage(b"123", 3, 1, name)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [None, image_pb2.Image()], ids=["no image", "neither encoded nor raw"])
def test_a_picture_is_required(image: image_pb2.Image | None) -> None:
    message = detector_service_pb2.DetectRequest(image=image)
    assert violations(message) == [("image", "is required: set `encoded` or `raw`")]


@pytest.mark.parametrize("pixel_format", [0, 99])
def test_an_unknown_format_is_refused_with_those_that_are_known(pixel_format: int) -> None:
    raw = image_pb2.RawImage(data=b"123", format=pixel_format)  # type: ignore[arg-type]
    message = detector_service_pb2.DetectRequest(image=image_pb2.Image(raw=raw))
    assert violations(message) == [("image.raw.format", f"must be one of RGB24, BGR24, GRAY8, got {pixel_format}")]


def test_an_empty_encoded_picture_is_left_to_the_decoder() -> None:
    message = detector_service_pb2.DetectRequest(image=image_pb2.Image(encoded=b""))
    assert convert.parse_detect(message).image == EncodedImage(b"")


@pytest.mark.parametrize("name", ["confidence_threshold", "iou_threshold"])
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_a_threshold_must_be_a_probability(name: str, value: float) -> None:
    assert violations(request(**{name: value})) == [(f"options.{name}", f"must be in [0, 1], got {value:g}")]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_the_range_are_in_it(value: float) -> None:
    parsed = convert.parse_detect(
        request(confidence_threshold=value, iou_threshold=value, class_confidence_thresholds={"a": value})
    )
    assert parsed.options.confidence_threshold == parsed.options.iou_threshold == value


@pytest.mark.parametrize("value", [0, -1, 1001, -(2**31), 2**31 - 1])
def test_the_number_of_detections_has_limits(value: int) -> None:
    assert violations(request(max_detections=value)) == [
        ("options.max_detections", f"must be in [1, 1000], got {value}")
    ]


@pytest.mark.parametrize("value", [1, 1000])
def test_the_ends_of_the_number_of_detections_are_in_it(value: int) -> None:
    assert convert.parse_detect(request(max_detections=value)).options.max_detections == value


@pytest.mark.parametrize("side", [0, -1, 65536])
def test_sides_of_the_source_have_limits(side: int) -> None:
    message = request()
    message.source_size.width, message.source_size.height = side, 65535
    assert violations(message) == [("source_size.width", f"must be in [1, 65535], got {side}")]
    message.source_size.width, message.source_size.height = 1, side
    assert violations(message) == [("source_size.height", f"must be in [1, 65535], got {side}")]


def test_an_empty_source_size_is_not_unset() -> None:
    message = request()
    message.source_size.SetInParent()
    assert [field for field, _ in violations(message)] == ["source_size.width", "source_size.height"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    message = detector_service_pb2.DetectRequest(
        image=image_pb2.Image(raw=image_pb2.RawImage()),
        source_size=image_pb2.ImageSize(width=0, height=-1),
        options=detection_pb2.DetectOptions(
            confidence_threshold=2,
            iou_threshold=-1,
            max_detections=0,
            class_confidence_thresholds={"car": 1.5, "bus": 0.5, "cat": math.nan},
        ),
    )
    assert sorted(field for field, _ in violations(message)) == [
        "image.raw.format",
        'options.class_confidence_thresholds["car"]',
        'options.class_confidence_thresholds["cat"]',
        "options.confidence_threshold",
        "options.iou_threshold",
        "options.max_detections",
        "source_size.height",
        "source_size.width",
    ]


def test_a_response_says_everything() -> None:
    found = Detections(
        np.array([[1, 2, 3, 4], [0, 0, 9.5, 8]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([1, 0], np.int32),
    )
    options = DetectOptions(0.25, 0.5, True, True, 7, {"car": 0.75}, ("car", "bus"))  # noqa: FBT003 - in order of fields
    result = Result(found, (20, 10), options, Timing(0.001, 0.002, 0.003, 0.004, 0.005), Uncertainty(0.25, "margin"))
    response = convert.detect_response(
        result, ("car", "bus"), request_id="id-1", model="yolo", version="v1", model_digest="sha256:0"
    )
    assert (response.request_id, response.model, response.version) == ("id-1", "yolo", "v1")
    assert response.model_digest == "sha256:0"
    assert [
        (d.class_id, d.class_name, d.confidence, d.bbox.x_min, d.bbox.y_min, d.bbox.x_max, d.bbox.y_max)
        for d in response.detections
    ] == [(1, "bus", 0.75, 1, 2, 3, 4), (0, "car", 0.5, 0, 0, 9.5, 8)]
    assert (response.image_size.width, response.image_size.height) == (20, 10)
    assert response.options == detection_pb2.DetectOptions(
        confidence_threshold=0.25,
        iou_threshold=0.5,
        multi_label=True,
        class_agnostic_nms=True,
        max_detections=7,
        class_confidence_thresholds={"car": 0.75},
        classes=["car", "bus"],
    )
    timing = response.timing
    milliseconds = [timing.queue_ms, timing.decode_ms, timing.preprocess_ms, timing.inference_ms, timing.postprocess_ms]
    assert milliseconds == pytest.approx([1, 2, 3, 4, 5])
    assert (response.uncertainty, response.uncertainty_driver) == (0.25, "margin")


def test_options_that_are_sent_back_as_they_came_mean_the_same() -> None:
    used = DetectOptions(0.25, 0.5, True, False, 7, {"car": 0.75}, ("car",))  # noqa: FBT003 - in order of fields
    result = Result(Detections.empty(), (1, 1), used, Timing(0, 0, 0, 0, 0), Uncertainty(0.0, ""))
    answer = convert.detect_response(result, ("car",), request_id="", model="", version="", model_digest="")
    again = convert.parse_detect(detector_service_pb2.DetectRequest(image=ENCODED, options=answer.options))
    assert again.options.over(DetectOptions(), ("car",)) == used


@pytest.mark.parametrize(
    "options",
    [
        {"classes": ["car"] * 1001},
        {"classes": ["x" * 257]},
        {"class_confidence_thresholds": {str(number): 0.5 for number in range(1001)}},
        {"class_confidence_thresholds": {"x" * 257: 2.0}},
    ],
)
def test_more_or_longer_names_than_any_model_has_are_one_fault(options: dict[str, object]) -> None:
    ((field, said),) = violations(request(**options))
    assert field == f"options.{next(iter(options))}"
    assert said.startswith("must have at most 1000 names of at most 256 characters, got ")


SOURCE = stored(Path("/secret/yolo/v1"))


def test_a_version_that_is_ready_is_described() -> None:
    spec = ModelSpec(
        class_names=("car", "bus"),
        input=ImageInput("images", (32, 48)),
        layout=Layout("xyxy", ("output0",)),
        options=DetectOptions(confidence_threshold=0.5),
    )
    session = FakeSession()
    loaded = LoadedModel(spec, session.signature, Pipeline(spec, session, 1))
    message = convert.model_version(ModelVersion(SOURCE, ModelState.READY, "", loaded))
    assert (message.model, message.version) == ("yolo", "v1")
    assert message.state == model_service_pb2.MODEL_STATE_READY
    assert message.state_message == ""
    assert list(message.class_names) == ["car", "bus"]
    assert (message.input_size.width, message.input_size.height) == (48, 32)
    assert message.head == "xyxy"
    assert message.default_options.confidence_threshold == 0.5
    assert (message.digest, message.execution_provider) == ("sha256:0", "CPUExecutionProvider")
    assert b"secret" not in message.SerializeToString()


def test_of_a_failure_only_that_it_happened_is_told() -> None:
    message = convert.model_version(ModelVersion(SOURCE, ModelState.FAILED, "/secret/model.onnx: broken"))
    assert message.state == model_service_pb2.MODEL_STATE_FAILED
    assert "could not be loaded" in message.state_message
    assert b"secret" not in message.SerializeToString()


def test_a_version_that_loads_says_so() -> None:
    message = convert.model_version(ModelVersion(SOURCE))
    assert message.state == model_service_pb2.MODEL_STATE_LOADING
    assert message.digest == ""


def test_every_state_has_a_place_in_the_contract() -> None:
    states = {convert.model_version(ModelVersion(SOURCE, state)).state for state in ModelState}
    assert len(states) == len(ModelState)
    assert model_service_pb2.MODEL_STATE_UNSPECIFIED not in states
