"""Between the messages of Predict and Annotate and our own values."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody
from support.forms import FORM, JSON, form
from support.pictures import noise

from detector_grpc._gen.detector.v1.predict_pb2 import AnnotateRequest, PredictRequest
from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc.fields import MAX_PARAMETERS, Fields
from detector_grpc.rpc.predict_messages import annotated, check_annotatable, for_rest, parse_rest, predict_response
from detector_grpc.serving.options import DetectOptions, RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage, Result, Timing
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.uncertainty import Uncertainty

BODY = HttpBody(content_type="image/png", data=b"picture")
NAMES = ("car", "bus")
MIB = 1024 * 1024
RESULT = Result(
    Detections(
        np.array([[1.5, 2, 30, 40.25], [0, 0, 5, 5]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([1, 0], np.int32),
    ),
    (64, 48),
    DetectOptions(confidence_threshold=0.375),
    Timing(1.0, 2.0, 3.0, 0.0625, 5.0),
    Uncertainty(0.25, "margin"),
)


def sent(*fields: tuple[str, str], **message: Any) -> PredictRequest:
    """A form, and fields of the message itself."""
    body = HttpBody(content_type=FORM, data=form(("file", b"picture"), *fields))
    return PredictRequest(body=body, **message)


def violations(request: PredictRequest, query: str = "") -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        parse_rest(request, query)
    return sorted(tuple(violation) for violation in caught.value.violations)


@pytest.mark.parametrize("message", [PredictRequest, AnnotateRequest])
def test_both_messages_have_the_fields_that_a_body_may_have(message: Any) -> None:
    assert [field.name for field in message.DESCRIPTOR.fields if field.name != "body"] == [
        *(name for name in Fields.model_fields)
    ]


@pytest.mark.parametrize("message", [PredictRequest, AnnotateRequest])
def test_a_picture_alone_leaves_everything_unset(message: Any) -> None:
    call = parse_rest(message(body=BODY), "")

    assert (call.model, call.version) == ("", "")
    assert call.detect == (EncodedImage(b"picture"), None, RequestedOptions())


VALUES = {
    "conf_threshold": 0.25,
    "version": "v2",
    "model": "street",
    "iou_threshold": 0.5,
    "classes": ["car", "bus"],
    "multi_label": False,
    "class_agnostic_nms": True,
    "max_detections": 7,
}


def in_form(name: str, value: object) -> list[tuple[str, str]]:
    values = value if isinstance(value, list) else [value]
    return [(name, str(each).lower()) for each in values]


@pytest.mark.parametrize(("in_message", "in_query"), [(0, 0), (2, 3), (0, len(VALUES)), (len(VALUES), 0)])
def test_message_query_and_form_together_say_all(in_message: int, in_query: int) -> None:
    items = list(VALUES.items())
    texts = [in_form(name, value) for name, value in items[in_message:]]
    query = urlencode(list(chain(*texts[:in_query])))

    call = parse_rest(sent(*chain(*texts[in_query:]), **dict(items[:in_message])), query)

    assert (call.model, call.version) == ("street", "v2")
    assert call.detect.options == RequestedOptions(
        confidence_threshold=0.25,
        iou_threshold=0.5,
        multi_label=False,
        class_agnostic_nms=True,
        max_detections=7,
        classes=("car", "bus"),
    )


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_message_query_and_form_may_say_the_same(name: str, value: Any) -> None:
    texts = in_form(name, value)

    assert parse_rest(sent(*texts, **{name: value}), urlencode(texts)) == parse_rest(sent(**{name: value}), "")


@pytest.mark.parametrize("text", ["0.1", "0.10", "1e-1"])
def test_the_same_number_is_the_same_however_it_is_written(text: str) -> None:
    request = sent(("conf_threshold", text), ("conf_threshold", "0.1"), conf_threshold=0.1)

    call = parse_rest(request, f"conf_threshold=.1&conf_threshold={text}")

    assert call.detect.options.confidence_threshold == pytest.approx(0.1)


CONTRADICTIONS = {
    "conf_threshold": ("0.5", "0.25", "0.5 and 0.25"),
    "version": ("v1", "v2", '"v1" and "v2"'),
    "max_detections": ("7", "8", "7 and 8"),
    "multi_label": ("true", "false", "true and false"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
@pytest.mark.parametrize(
    "where", ["message and query", "query and form", "query", "form", "object", "query and object"]
)
def test_what_contradicts_itself_anywhere_is_refused_with_both_values(name: str, where: str) -> None:
    first, second, shown = CONTRADICTIONS[name]
    as_json = [text if name == "version" else json.loads(text) for text in (first, second)]
    objects = [f'"{name}": {json.dumps(value)}' for value in as_json]
    body = HttpBody(content_type=JSON, data=f'{{"image": "QUJD", {", ".join(objects)}}}'.encode())
    in_object = HttpBody(content_type=JSON, data=f'{{"image": "QUJD", {objects[1]}}}'.encode())
    request, query = {
        "message and query": (sent(**{name: as_json[0]}), f"{name}={second}"),
        "query and form": (sent((name, second)), f"{name}={first}"),
        "query": (sent(), f"{name}={first}&{name}={second}"),
        "form": (sent((name, first), (name, second)), ""),
        "object": (PredictRequest(body=body), ""),
        "query and object": (PredictRequest(body=in_object), f"{name}={first}"),
    }[where]

    assert violations(request, query) == [(name, f"must be the same wherever it is given, got {shown}")]


def test_lists_of_classes_contradict_each_other_as_a_whole() -> None:
    request = sent(("classes", "car"), ("classes", "bus"))

    assert violations(request, "classes=bus") == [
        ("classes", 'must be the same wherever it is given, got ["bus"] and ["car", "bus"]')
    ]


def test_ranges_are_checked_whoever_says_it_and_all_faults_are_named() -> None:
    request = sent(("conf_threshold", "nan"), ("iou_threshold", "0.5"), iou_threshold=0.25, max_detections=0)

    assert violations(request) == [
        ("conf_threshold", "must be in [0, 1], got nan"),
        ("iou_threshold", "must be the same wherever it is given, got 0.25 and 0.5"),
        ("max_detections", "must be in [1, 1000], got 0"),
    ]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("conf_threshold=abc", [("conf_threshold", 'must be a number, got "abc"')]),
        ("conf%5Fthreshold=a%20b", [("conf_threshold", 'must be a number, got "a b"')]),
        ("max_detections=0", [("max_detections", 'must be in [1, 1000], got "0"')]),
        ("iou_threshold=x&multi_label=maybe", [("iou_threshold", ...), ("multi_label", ...)]),
        ("confThreshold=0.5&treshold", [("confThreshold", ...), ("treshold", ...)]),
        ("body=x&file=y&image=z", [("body", ...), ("file", ...), ("image", ...)]),
        ("=", [('""', ...)]),
        ("&" * MAX_PARAMETERS, [("query", f"must have at most {MAX_PARAMETERS} parameters, got {MAX_PARAMETERS + 1}")]),
    ],
)
def test_the_query_is_refused_by_the_names_in_it(query: str, wrong: list[tuple[str, Any]]) -> None:
    found = violations(PredictRequest(body=BODY), query)

    assert [field for field, _ in found] == [field for field, _ in wrong]
    assert all(rule in (..., said) for (_, said), (_, rule) in zip(found, wrong, strict=True))


@pytest.mark.parametrize("end", ["", "="])
def test_what_is_empty_in_the_query_is_not_given(end: str) -> None:
    query = "&".join(f"{name}{end}" for name in Fields.model_fields)

    assert parse_rest(sent(), query) == parse_rest(sent(), "")


def test_a_query_may_name_as_many_classes_as_there_may_be_parameters() -> None:
    names = [f"c{number}" for number in range(MAX_PARAMETERS)]

    call = parse_rest(sent(), "&".join(f"classes={name}" for name in names))

    assert call.detect.options.classes == tuple(names)


def test_a_call_without_a_body_misses_the_picture() -> None:
    assert violations(PredictRequest()) == [("body", "is empty; the picture is missing")]


def test_faults_that_are_found_later_have_the_names_of_rest() -> None:
    error = InvalidRequest([Violation("options.classes", "a"), Violation("options.confidence_threshold", "b")])

    assert for_rest(error).violations == (Violation("classes", "a"), Violation("conf_threshold", "b"))


def test_the_answer_has_seconds_and_height_before_width() -> None:
    answer = predict_response(RESULT, NAMES, request_id="id", version="v1")

    assert (answer.request_id, answer.version) == ("id", "v1")
    assert answer.inference_time == 0.0625
    assert answer.image_shape == [48, 64, 3]
    assert answer.confidence_threshold == 0.375
    first, second = answer.detections
    assert (first.class_id, first.class_name, first.confidence) == (1, "bus", 0.75)
    assert first.bbox == [1.5, 2, 30, 40.25]
    assert second.class_name == "car"


def test_an_annotated_picture_keeps_size_and_colours() -> None:
    image = np.empty((48, 64, 3), np.uint8)
    image[:] = (200, 100, 50)

    answer = annotated(image, RESULT, NAMES, 10_000)

    assert answer.content_type == "image/jpeg"
    decoded = cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded[44:, 44:].astype(int) - (200, 100, 50)).max() < 12
    assert np.abs(decoded.astype(int) - image).max() > 100  # a box is there


def test_an_annotated_picture_has_no_more_bytes_than_allowed() -> None:
    grainy = noise(64, 48)
    best = len(annotated(grainy, RESULT, NAMES, MIB).data)

    smaller = len(annotated(grainy, RESULT, NAMES, best - 1).data)

    assert best // 2 < smaller < best
    with pytest.raises(InvalidRequest, match="the annotated picture must have at most 500 bytes, it has"):
        annotated(grainy, RESULT, NAMES, 500)


@pytest.mark.parametrize("image_wh", [(65501, 1), (1, 65501)])
def test_a_picture_that_no_jpeg_can_hold_is_refused(image_wh: tuple[int, int]) -> None:
    check_annotatable((65500, 65500))

    with pytest.raises(InvalidRequest, match="at most 65500 pixels, got"):
        check_annotatable(image_wh)
