"""The server finds what the models found where they were trained: nothing is lost on the way.

Photos are not part of the project; they lie in `shared/data` beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.calls import encoded_request
from support.precision import Annotations

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions

if TYPE_CHECKING:
    from support.calls import Client

CODES = Path(__file__).parents[2].parent / "shared" / "data" / "codes"

# As the reference figures were taken.
OPTIONS = DetectOptions(confidence_threshold=0.005, iou_threshold=0.5, class_agnostic_nms=False, max_detections=100)


@pytest.mark.skipif(not CODES.exists(), reason="the photos of codes are not beside the project")
@pytest.mark.parametrize(("version", "reference"), [("v1", 0.977), ("v2", 0.964)])
def test_the_bundled_models_are_as_precise_as_when_they_were_trained(
    codes: Client, version: str, reference: float
) -> None:
    annotations = Annotations(CODES / "annotations.json")

    found = {
        picture: codes.detect(
            encoded_request((CODES / "images" / name).read_bytes(), version=version, options=OPTIONS)
        ).detections
        for picture, name in annotations.pictures.items()
    }

    assert len(found) == 144
    assert annotations.mean_ap50(found) == pytest.approx(reference, abs=0.01)
