"""Samples whose pictures are some, with boxes, as people label them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from detector_grpc.capture.sample import Box, Doubt
from detector_grpc.capture.sinks.sink import put_sample
from detector_grpc.vision.header import read_header
from support.samples import NOON, sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detector_grpc.capture.sample import Bbox, Sample, Sidecar
    from detector_grpc.capture.sinks.sink import Sink

# What XML and YAML take for something else if they are let to.
NAMES = ("car", "bus & <tram>", "Fußgänger", "7", "no")


def seen(
    picture: bytes,
    boxes: Sequence[tuple[int, float, Bbox]] = (),
    *,
    score: float = 0.5,
    minutes: float = 0.0,
    **fields: Any,
) -> Sample:
    """A sample of a picture file, with boxes (class_id, confidence, bbox), captured so long after noon."""
    header = read_header(picture)
    width, height = header.image_wh
    return sample(
        picture,
        media_type=f"image/{header.format.name.lower()}",
        width=width,
        height=height,
        captured_at=NOON + timedelta(minutes=minutes),
        uncertainty=Doubt(score=score, driver="margin", measures={"margin": score}),
        class_names=NAMES,
        detections=tuple(
            Box(class_id=class_id, class_name=NAMES[class_id], confidence=confidence, bbox=bbox)
            for class_id, confidence, bbox in boxes
        ),
        **fields,
    )


def kept(sink: Sink, *samples: Sample) -> list[Sidecar]:
    """Brings samples to a sink."""
    for each in samples:
        assert put_sample(sink, each)
    return [each.sidecar for each in samples]


def accept(tasks: Path) -> None:
    """What Label Studio makes of predictions that somebody agrees with."""
    content = json.loads(tasks.read_text(encoding="utf-8"))
    for task in content:
        if "predictions" in task:
            task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
    tasks.write_text(json.dumps(content), encoding="utf-8")
