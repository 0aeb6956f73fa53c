"""A version that a server holds, as the target of an evaluation."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import click

from detector_grpc.client import CallFailed, DetectOptions, Detector
from detector_grpc.errors import SetupInvalid, listed
from detector_grpc.evaluation.target import Answer, Refused
from detector_grpc.vision.detections import Detections

if TYPE_CHECKING:
    from detector_grpc.client import ModelVersion
    from detector_grpc.serving.options import RequestedOptions

# How long a busy server is asked again for one picture; it says each time when.
PATIENCE_S = 60.0

_PICTURE_REASONS = frozenset({"IMAGE_EMPTY", "IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE", "MESSAGE_TOO_LARGE"})


class ServedTarget:
    """Sends pictures to a server as they are. See evaluation.target.Target.

    Args:
        detector: Calls the version.
        model: Name of the model.
        version: Version of the model.
        options: How detections are chosen.

    Raises:
        SetupInvalid: The server holds no such version, or it is not ready.
        CallFailed: There is no answer.
    """

    def __init__(self, detector: Detector, model: str, version: str, options: RequestedOptions) -> None:
        held = _held(detector, model, version)
        self.name = f"{model}/{version}"
        self.class_names = held.class_names
        self.digest = held.digest
        self._detector = detector
        self._options = DetectOptions(
            confidence_threshold=options.confidence_threshold,
            multi_label=options.multi_label,
            max_detections=options.max_detections,
            iou_threshold=options.iou_threshold,
        )
        asked = options.iou_threshold
        self.iou_threshold = cast("float", held.default_options["iou_threshold"]) if asked is None else asked

    def look(self, picture: bytes) -> Answer:
        """See Target."""
        asked = time.perf_counter()
        while True:
            started = time.perf_counter()
            try:
                result = self._detector.detect(picture, **self._options)
            except CallFailed as failure:
                if _is_about_the_picture(failure):
                    raise Refused(failure.message) from failure
                if failure.retry_after_s is None or started - asked > PATIENCE_S:
                    raise
                time.sleep(failure.retry_after_s)
            else:
                break
        total_ms = (time.perf_counter() - started) * 1e3
        if result.model_digest != self.digest:
            raise click.ClickException(f"the server has loaded another file as {self.name} meanwhile")
        stages_ms = {name.removesuffix("_ms"): value for name, value in asdict(result.timing).items()}
        return Answer(Detections(result.xyxy, result.confidence, result.class_id), total_ms, stages_ms)


def _held(detector: Detector, model: str, version: str) -> ModelVersion:
    versions = {(held.model, held.version): held for held in detector.models()}
    held = versions.get((model, version))
    if held is None:
        names = listed("/".join(key) for key in versions)
        raise SetupInvalid([f"the server does not hold {model}/{version}; it holds {names or 'nothing'}"])
    if held.state != "READY":
        raise SetupInvalid([f"{model}/{version} is {held.state}, and cannot be evaluated: {held.state_message}"])
    return held


def _is_about_the_picture(failure: CallFailed) -> bool:
    # What is far too large is refused by gRPC itself, which gives no reason.
    return failure.reason in _PICTURE_REASONS or (failure.code == "RESOURCE_EXHAUSTED" and not failure.reason)
