"""What a result can be made into."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import supervision

from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2, image_pb2
from detector_grpc.client import Detection, Timing
from detector_grpc.client.results import detection_result


def answer(detections: int = 2, uncertainty: float | None = None) -> detector_service_pb2.DetectResponse:
    return detector_service_pb2.DetectResponse(
        request_id="r-1",
        model="codes",
        version="v1",
        detections=[
            detection_pb2.Detection(
                class_id=index,
                class_name=f"class {index}",
                confidence=0.9 - index / 10,
                bbox=detection_pb2.BoundingBox(x_min=1.1 + index, y_min=2, x_max=30.3, y_max=40),
            )
            for index in range(detections)
        ],
        image_size=image_pb2.ImageSize(width=640, height=480),
        options=detection_pb2.DetectOptions(
            confidence_threshold=0.3, iou_threshold=0.7, multi_label=False, class_agnostic_nms=True, max_detections=300
        ),
        timing=detection_pb2.Timing(queue_ms=0.1, decode_ms=1.5, preprocess_ms=2, inference_ms=3, postprocess_ms=4),
        model_digest="sha256:00",
        uncertainty=uncertainty,
        uncertainty_driver="margin",
    )


def test_arrays_have_the_types_and_shapes_that_they_promise() -> None:
    result = detection_result(answer())
    assert (result.xyxy.dtype, result.xyxy.shape) == (np.float32, (2, 4))
    assert (result.confidence.dtype, result.confidence.shape) == (np.float32, (2,))
    assert (result.class_id.dtype, result.class_id.shape) == (np.int32, (2,))
    assert result.class_name == ("class 0", "class 1")
    assert len(result) == 2


def test_a_picture_without_objects_has_empty_arrays_of_the_same_types() -> None:
    result = detection_result(answer(detections=0))
    assert len(result) == 0
    assert list(result) == []
    assert (result.xyxy.dtype, result.xyxy.shape) == (np.float32, (0, 4))
    assert (result.class_id.dtype, result.class_id.shape) == (np.int32, (0,))


def test_iteration_gives_single_detections_in_order() -> None:
    assert list(detection_result(answer())) == [
        Detection(0, "class 0", 0.9, (1.1, 2.0, 30.3, 40.0)),
        Detection(1, "class 1", 0.8, (2.1, 2.0, 30.3, 40.0)),
    ]


def test_everything_else_of_the_answer_is_there() -> None:
    result = detection_result(answer(uncertainty=0.0))
    assert (result.request_id, result.model, result.version, result.model_digest) == ("r-1", "codes", "v1", "sha256:00")
    assert result.image_wh == (640, 480)
    assert result.timing == Timing(0.1, 1.5, 2.0, 3.0, 4.0)
    assert (result.uncertainty, result.uncertainty_driver) == (0.0, "margin")
    assert result.options["class_agnostic_nms"] is True
    assert result.options["confidence_threshold"] == 0.3


def test_an_uncertainty_that_was_not_computed_is_none() -> None:
    assert detection_result(answer()).uncertainty is None


def test_a_result_goes_through_json_without_loss() -> None:
    result = detection_result(answer())
    read = json.loads(json.dumps(result.to_dict()))
    assert read == result.to_dict()
    assert read["detections"][0] == {
        "class_id": 0,
        "class_name": "class 0",
        "confidence": 0.9,
        "bbox": [1.1, 2.0, 30.3, 40.0],
    }
    assert read["image_wh"] == [640, 480]
    assert read["uncertainty"] is None


@pytest.mark.parametrize("count", [0, 2])
def test_supervision_gets_the_same_boxes_and_the_names(count: int) -> None:
    result = detection_result(answer(count))
    converted = result.to_supervision()
    assert isinstance(converted, supervision.Detections)
    assert len(converted) == count
    np.testing.assert_array_equal(converted.xyxy, result.xyxy)
    np.testing.assert_array_equal(converted.confidence, result.confidence)
    np.testing.assert_array_equal(converted.class_id, result.class_id)
    assert list(converted["class_name"]) == list(result.class_name)


def test_without_supervision_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        detection_result(answer()).to_supervision()


def test_importing_the_client_imports_neither_the_model_runtime_nor_the_server() -> None:
    code = "import sys, detector_grpc.client; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"onnxruntime", "supervision", "pydantic", "detector_grpc.serving", "detector_grpc.app"} & set(imported)
