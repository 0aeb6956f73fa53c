"""Frames with their boxes drawn, as a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from support.video import read_video

from detector_grpc._gen.detector.v1 import detector_service_pb2
from detector_grpc.cli.stream.annotated import AnnotatedVideo
from detector_grpc.client import StreamAnswer, StreamFrame
from detector_grpc.client.results import detection_result

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.client import DetectionResult

FRAME = StreamFrame(np.full((64, 64, 3), 128, np.uint8))


def result(boxes: int) -> DetectionResult:
    answer = detector_service_pb2.DetectResponse(image_size={"width": 64, "height": 64})
    for _ in range(boxes):
        answer.detections.add(bbox={"x_min": 8, "y_min": 8, "x_max": 56, "y_max": 56})
    return detection_result(answer)


async def test_boxes_go_with_the_objects_and_stay_over_frames_that_were_not_looked_at(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "annotated.mp4", 10)
    for answer in (
        StreamAnswer(FRAME, 1, None, result=result(boxes=0)),
        StreamAnswer(FRAME, 2, None, result=result(boxes=1)),
        StreamAnswer(FRAME, 3, None, dropped="superseded"),
        StreamAnswer(FRAME, 4, None, result=result(boxes=0)),
        StreamAnswer(FRAME, 5, None, dropped="superseded"),
    ):
        await video.write(answer)
    await video.close()
    drawn = [bool((np.abs(image.astype(int) - 128) > 60).any()) for image in read_video(video.path)]
    assert drawn == [False, True, True, False, False]
