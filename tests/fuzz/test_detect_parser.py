"""Any bytes are a checked request or an error of ours that the caller may see, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions as OptionsMessage
from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest
from detector_grpc._gen.detector.v1.image_pb2 import Image, ImageSize, RawImage
from detector_grpc.errors import DetectorError
from detector_grpc.rpc import convert
from detector_grpc.rpc.status import rich_status
from detector_grpc.serving.options import MAX_DETECTIONS, DetectOptions

INPUTS = 50_000
MAX_PIXELS = 32 * 32
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
NAMES = ("car", "bus", "cat")
OUTCOMES = {
    "no message",
    "a request",
    "a request with pixels",
    "INVALID_REQUEST",
    "IMAGE_EMPTY",
    "IMAGE_UNDECODABLE",
    "IMAGE_TOO_LARGE",
    "RAW_IMAGE_INVALID",
}

pytestmark = pytest.mark.usefixtures("quiet_decoders")


def files() -> list[bytes]:
    return [cv2.imencode(suffix, PICTURE)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".bmp", ".tif")]


def corpus() -> list[bytes]:
    jpeg, png, *_ = files()
    raw = RawImage(data=PICTURE.tobytes(), size=ImageSize(width=5, height=4), format="PIXEL_FORMAT_BGR24")
    options = OptionsMessage(
        confidence_threshold=0.25,
        iou_threshold=0.5,
        classes=["car", "bus"],
        class_confidence_thresholds={"car": 0.5, "cat": 0.75},
        multi_label=True,
        class_agnostic_nms=False,
        max_detections=10,
    )
    requests = [
        DetectRequest(image=Image(encoded=jpeg), model="yolo", version="v1"),
        DetectRequest(image=Image(encoded=png), options=options),
        DetectRequest(image=Image(raw=raw), options=options, source_size=ImageSize(width=50, height=40)),
        DetectRequest(image=Image(raw=raw)),
        DetectRequest(image=Image(encoded=b""), options=options),
        DetectRequest(options=options),
    ]
    return [request.SerializeToString() for request in requests]


def outcome(data: bytes, *, with_pixels: bool) -> str:
    """What became of the bytes; raises whatever is neither a checked request nor an error of ours."""
    try:
        request = DetectRequest.FromString(data)
    except DecodeError:
        return "no message"  # interceptors.limits makes an error of ours of it
    try:
        call = convert.parse_detect(request)
        options = call.options.over(DetectOptions(), NAMES)
        check(options)
        pixels = call.image.open(MAX_PIXELS).pixels((8, 8)) if with_pixels else None
    except DetectorError as error:
        code = rich_status(error, "id-1").code
        return error.reason if code is grpc.StatusCode.INVALID_ARGUMENT else f"{error.reason} as {code}"
    assert call.source_wh is None or all(1 <= side <= convert.MAX_SIDE_PX for side in call.source_wh)
    if pixels is None:
        return "a request"
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return "a request with pixels"


def check(options: DetectOptions) -> None:
    assert 0 <= options.confidence_threshold <= 1
    assert 0 <= options.iou_threshold <= 1
    assert 1 <= options.max_detections <= MAX_DETECTIONS
    assert isinstance(options.multi_label, bool)
    assert set(options.classes) <= set(NAMES)
    thresholds = options.thresholds(NAMES)
    assert thresholds.shape == (len(NAMES),)
    assert (((thresholds >= 0) & (thresholds <= 1)) | np.isinf(thresholds)).all()


@pytest.mark.timeout(300)
def test_damaged_requests_are_checked_or_refused_and_leave_no_memory_behind(mutator: Any, memory: Any) -> None:
    watched, outcomes = memory(INPUTS), Counter[str]()
    requests, pictures = mutator(corpus()).inputs(INPUTS), mutator(files(), seed=1).inputs(INPUTS // 4)
    for number, damaged in enumerate(requests):
        # Damaged bytes are mostly no message at all, so a quarter are right messages with damaged pictures.
        picture = next(pictures) if number % 4 == 0 else None
        data = damaged if picture is None else DetectRequest(image=Image(encoded=picture)).SerializeToString()
        outcomes[outcome(data, with_pixels=number % 4 < 2)] += 1
        watched.tick()
    watched.assert_flat()
    assert outcomes.total() == INPUTS
    assert outcomes.keys() == OUTCOMES
    # Were nearly everything refused by protobuf, the rest would not be tried.
    assert outcomes["no message"] < INPUTS * 3 // 4


starts = st.sampled_from([b"", *corpus()])


@settings(
    max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(starts, st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_error(start: bytes, data: bytes) -> None:
    # Messages that follow one another are merged, so whatever is appended changes what was there.
    assert outcome(start + data, with_pixels=True) in OUTCOMES


numbers = st.floats(width=32, allow_nan=True)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.builds(
        OptionsMessage,
        confidence_threshold=st.none() | numbers,
        iou_threshold=st.none() | numbers,
        max_detections=st.none() | st.integers(-(2**31), 2**31 - 1),
        classes=st.lists(st.sampled_from([*NAMES, "dog", "", "\x00", "é"]), max_size=3),
        class_confidence_thresholds=st.dictionaries(st.sampled_from([*NAMES, "dog", '"']), numbers, max_size=3),
    ),
    st.builds(ImageSize, width=st.integers(-(2**31), 2**31 - 1), height=st.integers(-(2**31), 2**31 - 1)),
    st.integers(-1, 5),
)
def test_any_values_are_a_request_or_an_error(options: OptionsMessage, size: ImageSize, pixel_format: int) -> None:
    raw = RawImage(data=b"123", size=size, format=pixel_format)  # type: ignore[arg-type]
    request = DetectRequest(image=Image(raw=raw), options=options, source_size=size)
    assert outcome(request.SerializeToString(), with_pixels=True) in OUTCOMES
