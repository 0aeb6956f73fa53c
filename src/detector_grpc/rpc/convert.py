"""Between the contract's messages and our own values. All faults of a request are found before any is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2, image_pb2, model_service_pb2, stream_pb2
from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.serving.options import MAX_DETECTIONS, DetectOptions, RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage, Image, PictureRequest, RawImage, Result, Timing
from detector_grpc.serving.registry import ModelState, ModelVersion
from detector_grpc.vision.draw import LabelledBox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.vision.decode import PixelFormat

MAX_SIDE_PX = 65535

# Looking at names takes time and memory on the event loop, and a message has room for millions.
MAX_NAMES = 1000
MAX_NAME_LENGTH = 256

PIXEL_FORMATS: Mapping[image_pb2.PixelFormat, PixelFormat] = {
    image_pb2.PIXEL_FORMAT_RGB24: "RGB24",
    image_pb2.PIXEL_FORMAT_BGR24: "BGR24",
    image_pb2.PIXEL_FORMAT_GRAY8: "GRAY8",
}

_STATES = {
    ModelState.LOADING: model_service_pb2.MODEL_STATE_LOADING,
    ModelState.READY: model_service_pb2.MODEL_STATE_READY,
    ModelState.FAILED: model_service_pb2.MODEL_STATE_FAILED,
}


def parse_detect(request: detector_service_pb2.DetectRequest) -> PictureRequest:
    """Checks everything that can be checked without the model and the pixels.

    Raises:
        InvalidRequest: Fields are missing or out of range; all of them are named.
    """
    violations: list[Violation] = []
    image, source_wh = picture(request, violations)
    options = requested_options(request.options, violations)
    if violations or image is None:
        raise InvalidRequest(violations)
    return PictureRequest(image, source_wh, options)


def picture(
    message: detector_service_pb2.DetectRequest | stream_pb2.Frame, violations: list[Violation]
) -> tuple[Image | None, tuple[int, int] | None]:
    """The picture of a message and its source size; adds what is wrong with them to `violations`."""
    image = _image(message.image, violations)
    if not message.HasField("source_size"):
        return image, None
    source_wh = (message.source_size.width, message.source_size.height)
    for name, side in zip(("width", "height"), source_wh, strict=True):
        if not 1 <= side <= MAX_SIDE_PX:
            violations.append(Violation(f"source_size.{name}", f"must be in [1, {MAX_SIDE_PX}], got {side}"))
    return image, source_wh


def detect_response(
    result: Result, class_names: Sequence[str], *, request_id: str, model: str, version: str, model_digest: str
) -> detector_service_pb2.DetectResponse:
    """The answer to a DetectRequest."""
    width, height = result.image_wh
    return detector_service_pb2.DetectResponse(
        request_id=request_id,
        model=model,
        version=version,
        detections=detections(result, class_names),
        image_size=image_pb2.ImageSize(width=width, height=height),
        options=options_message(result.options),
        timing=timing_message(result.timing),
        model_digest=model_digest,
        uncertainty=result.uncertainty.score,
        uncertainty_driver=result.uncertainty.driver,
    )


def detections(result: Result, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """What was found, as fields of Detection: messages are made of these in half the time that they take one by one."""
    edges = ("x_min", "y_min", "x_max", "y_max")
    return [
        {
            "class_id": box.class_id,
            "class_name": box.class_name,
            "confidence": box.confidence,
            "bbox": dict(zip(edges, box.xyxy, strict=True)),
        }
        for box in boxes(result, class_names)
    ]


def boxes(result: Result, class_names: Sequence[str]) -> list[LabelledBox]:
    """What was found, in plain values."""
    found = result.detections
    return [
        LabelledBox(tuple(xyxy), class_id, class_names[class_id], confidence)
        for xyxy, confidence, class_id in zip(
            found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), strict=True
        )
    ]


def model_version(version: ModelVersion) -> model_service_pb2.ModelVersion:
    """The description of a version. Of a failure only that it happened: its text is for the operator."""
    message = model_service_pb2.ModelVersion(
        model=version.model,
        version=version.version,
        state=_STATES[version.state],
    )
    if version.state is ModelState.FAILED:
        message.state_message = "could not be loaded; the server's log and `detector-grpc doctor` say why"
    if version.loaded is not None:
        spec, signature = version.loaded.spec, version.loaded.signature
        height, width = spec.input.hw
        message.class_names.extend(spec.class_names)
        message.input_size.CopyFrom(image_pb2.ImageSize(width=width, height=height))
        message.head = spec.layout.head
        message.default_options.CopyFrom(options_message(spec.options))
        message.digest = signature.digest
        message.execution_provider = version.loaded.pipeline.provider
    return message


def _image(image: image_pb2.Image, violations: list[Violation]) -> Image | None:
    match image.WhichOneof("source"):
        case "encoded":
            return EncodedImage(image.encoded)
        case "raw":
            pixel_format = PIXEL_FORMATS.get(image.raw.format)
            if pixel_format is None:
                known = ", ".join(PIXEL_FORMATS.values())
                violations.append(Violation("image.raw.format", f"must be one of {known}, got {image.raw.format}"))
                return None
            return RawImage(image.raw.data, image.raw.size.width, image.raw.size.height, pixel_format)
    violations.append(Violation("image", "is required: set `encoded` or `raw`"))
    return None


def requested_options(options: detection_pb2.DetectOptions, violations: list[Violation]) -> RequestedOptions:
    """The options that a caller asks for; adds what is wrong with them to `violations`."""
    if not options.ListFields():
        return RequestedOptions()

    def checked(name: str, value: float) -> float:
        if not 0 <= value <= 1:  # false for NaN, too
            violations.append(Violation(f"options.{name}", f"must be in [0, 1], got {value:g}"))
        return value

    def probability(name: str) -> float | None:
        return checked(name, getattr(options, name)) if options.HasField(name) else None

    for name, entries in (
        ("classes", options.classes),
        ("class_confidence_thresholds", options.class_confidence_thresholds),
    ):
        if len(entries) > MAX_NAMES or any(len(entry) > MAX_NAME_LENGTH for entry in entries):
            rule = f"must have at most {MAX_NAMES} names of at most {MAX_NAME_LENGTH} characters, got {len(entries)}"
            violations.append(Violation(f"options.{name}", rule))
            return RequestedOptions()
    most = options.max_detections if options.HasField("max_detections") else None
    if most is not None and not 1 <= most <= MAX_DETECTIONS:
        violations.append(Violation("options.max_detections", f"must be in [1, {MAX_DETECTIONS}], got {most}"))
    return RequestedOptions(
        confidence_threshold=probability("confidence_threshold"),
        iou_threshold=probability("iou_threshold"),
        multi_label=options.multi_label if options.HasField("multi_label") else None,
        class_agnostic_nms=options.class_agnostic_nms if options.HasField("class_agnostic_nms") else None,
        max_detections=most,
        class_confidence_thresholds={
            name: checked(f'class_confidence_thresholds["{name}"]', value)
            for name, value in options.class_confidence_thresholds.items()
        },
        classes=tuple(options.classes),
    )


def options_message(options: DetectOptions) -> detection_pb2.DetectOptions:
    """The options that are used."""
    return detection_pb2.DetectOptions(
        confidence_threshold=options.confidence_threshold,
        class_confidence_thresholds=options.class_confidence_thresholds,
        iou_threshold=options.iou_threshold,
        classes=options.classes,
        multi_label=options.multi_label,
        class_agnostic_nms=options.class_agnostic_nms,
        max_detections=options.max_detections,
    )


def timing_message(timing: Timing) -> detection_pb2.Timing:
    """Where the time went, in milliseconds."""
    return detection_pb2.Timing(
        queue_ms=timing.queue_s * 1e3,
        decode_ms=timing.decode_s * 1e3,
        preprocess_ms=timing.preprocess_s * 1e3,
        inference_ms=timing.inference_s * 1e3,
        postprocess_ms=timing.postprocess_s * 1e3,
    )
