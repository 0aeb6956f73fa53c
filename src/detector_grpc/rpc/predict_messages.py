"""Between the messages of Predict and Annotate and our own values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import cv2
from google.api.httpbody_pb2 import HttpBody

from detector_grpc import headers
from detector_grpc._gen.detector.v1 import detection_pb2, predict_pb2
from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc import convert
from detector_grpc.rpc.body import read_body
from detector_grpc.rpc.fields import joined, read_query
from detector_grpc.serving.pipeline import EncodedImage, PictureRequest
from detector_grpc.vision.draw import draw_boxes
from detector_grpc.vision.encode import MAX_JPEG_SIDE_PX, encode_jpeg_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.rpc.fields import Said
    from detector_grpc.serving.pipeline import Result

    RestRequest: TypeAlias = predict_pb2.PredictRequest | predict_pb2.AnnotateRequest

# What REST callers call the options of the contract.
_REST_NAMES = {"options.confidence_threshold": "conf_threshold"}


class RestCall(NamedTuple):
    """A checked PredictRequest or AnnotateRequest: which model, and what for it."""

    model: str
    version: str
    detect: PictureRequest


def parse_rest(request: RestRequest, query: str, path_version: str = "") -> RestCall:
    """Takes body and query apart, and joins what they say with the fields of the message.

    Args:
        request: What came; of REST callers the body.
        query: Query of the URL of a REST caller.
        path_version: The version in its path; empty for none.

    Raises:
        InvalidRequest: The body is damaged or of another type, fields are unknown, out of range or contradict each
            other. Those of the query are named, or all others.
    """
    violations: list[Violation] = []
    in_query = read_query(query, violations)
    if violations:
        raise InvalidRequest(violations)
    body = read_body(request.body.content_type, request.body.data)
    # As the contract has them: numbers in single precision, and no version where its name is empty.
    messages = [
        type(request)(version=path_version),
        request,
        *(type(request)(**{name: value}) for name, value in (*in_query, *body.said)),
    ]
    said = joined([pair for message in messages for pair in _values(message)], violations)
    model, version = said.pop("model", ""), said.pop("version", "")
    options = detection_pb2.DetectOptions(confidence_threshold=said.pop("conf_threshold", None), **said)
    requested = convert.requested_options(options, violations)
    if violations:
        raise for_rest(InvalidRequest(violations))
    return RestCall(model, version, PictureRequest(EncodedImage(body.picture), None, requested))


def for_rest(error: InvalidRequest) -> InvalidRequest:
    """The same with the names that fields have for REST callers."""
    return InvalidRequest(
        [
            Violation(_REST_NAMES.get(field, field.removeprefix("options.")), description)
            for field, description in error.violations
        ]
    )


def predict_response(
    result: Result, class_names: Sequence[str], *, request_id: str, version: str
) -> predict_pb2.PredictResponse:
    """The answer to a PredictRequest."""
    width, height = result.image_wh
    return predict_pb2.PredictResponse(
        request_id=request_id,
        version=version,
        detections=[
            predict_pb2.PredictDetection(
                class_id=box.class_id, class_name=box.class_name, confidence=box.confidence, bbox=box.xyxy
            )
            for box in convert.boxes(result, class_names)
        ],
        inference_time=result.timing.inference_s,
        image_shape=(height, width, 3),
        confidence_threshold=result.options.confidence_threshold,
    )


def uncertainty_said(result: Result) -> tuple[tuple[str, str], ...]:
    """What to say around an answer to a REST caller, which has no member for it, of how unsure the model was."""
    score, driver = result.uncertainty.score, result.uncertainty.driver
    said = ((headers.UNCERTAINTY, f"{score:.6f}"),)
    return (*said, (headers.UNCERTAINTY_DRIVER, driver)) if driver else said


def check_annotatable(image_wh: tuple[int, int]) -> None:
    """Refuses what cannot be written as JPEG.

    Raises:
        InvalidRequest: A side is too long.
    """
    if max(image_wh) > MAX_JPEG_SIDE_PX:
        width, height = image_wh
        rule = f"a side of an annotated picture must have at most {MAX_JPEG_SIDE_PX} pixels, got {width} x {height}"
        raise InvalidRequest([Violation("image", rule)])


def annotated(image: NDArray[np.uint8], result: Result, class_names: Sequence[str], max_bytes: int) -> HttpBody:
    """The answer to an AnnotateRequest.

    Args:
        image: uint8 (H, W, 3), RGB, upright, of size `result.image_wh`.
        result: What was found in it.
        class_names: By class_id.
        max_bytes: Largest JPEG; quality goes down to it.

    Raises:
        InvalidRequest: Even so it is larger.
    """
    drawn = draw_boxes(image, convert.boxes(result, class_names))
    file = encode_jpeg_within(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), max_bytes)
    if len(file) > max_bytes:
        rule = f"the annotated picture must have at most {max_bytes} bytes, it has {len(file)}"
        raise InvalidRequest([Violation("image", rule)])
    return HttpBody(content_type="image/jpeg", data=file)


def _values(request: RestRequest) -> Said:
    """The fields that are set, but for the body."""
    return [(field.name, value) for field, value in request.ListFields() if field.name != "body"]
