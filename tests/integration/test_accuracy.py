"""The server finds what the models find by the shortest way from file to boxes: nothing is lost on ours.

Photos and models are not part of the project; they lie in `shared/data` beside it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnxruntime
import pytest
from support.calls import SERVING, connected, encoded_request, raw_request
from support.precision import Annotations, Found
from support.reference import CONFIDENCE, DATA, MODELS, MOST, REFERENCES, coco_class_names, coco_repository
from support.servers import PATIENCE_S, server_process

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client

EXAMPLES = Path(__file__).parents[2] / "examples"
CODES, PHOTOS = DATA / "codes", DATA / "voc100"

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the photos and models are not beside the project")


def served(client: Client, folder: Path, pictures: dict[int, str], **chosen: object) -> dict[int, list[Found]]:
    return {
        picture: [
            Found.of(detection)
            for detection in client.detect(
                encoded_request((folder / "images" / name).read_bytes(), **chosen)
            ).detections
        ]
        for picture, name in pictures.items()
    }


@pytest.mark.parametrize(("version", "reference"), [("v1", 0.977), ("v2", 0.964)])
def test_the_bundled_models_are_as_precise_as_when_they_were_trained(
    codes: Client, version: str, reference: float
) -> None:
    annotations = Annotations(CODES / "annotations.json")
    # As the reference figures were taken.
    options = DetectOptions(confidence_threshold=0.005, iou_threshold=0.5, class_agnostic_nms=False, max_detections=100)

    found = served(codes, CODES, annotations.pictures, version=version, options=options)

    assert len(found) == 144
    assert annotations.mean_ap50(found) == pytest.approx(reference, abs=0.01)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with small codes in them, of which the examples say how they are made."""
    folder = tmp_path_factory.mktemp("wide")
    script = EXAMPLES / "codes" / "wide_scenes.py"
    command = [sys.executable, script, "--codes", CODES, "--photos", DATA / "photos", "--out", folder, "--most", "25"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return folder


def test_the_second_bundled_model_finds_small_codes_that_the_first_does_not(codes: Client, wide: Path) -> None:
    annotations = Annotations(wide / "annotations.json")
    options = DetectOptions(confidence_threshold=0.005, max_detections=100)

    ap50 = {
        version: annotations.mean_ap50(served(codes, wide, annotations.pictures, version=version, options=options))
        for version in ("v1", "v2")
    }

    assert ap50["v2"] > ap50["v1"] + 0.1


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server of all models of `shared/data`, each as the version of its name."""
    repository = coco_repository(tmp_path_factory.mktemp("models"), REFERENCES)
    with server_process(repository=repository) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        yield client


@pytest.mark.parametrize("version", REFERENCES)
def test_models_of_others_are_as_precise_as_in_plain_onnx_runtime(coco: Client, version: str) -> None:
    annotations, reference = Annotations(PHOTOS / "annotations.json"), REFERENCES[version]
    options = DetectOptions(
        confidence_threshold=CONFIDENCE, iou_threshold=reference.iou, multi_label=True, max_detections=MOST
    )

    found = served(coco, PHOTOS, annotations.pictures, version=version, options=options)
    session = onnxruntime.InferenceSession(str(MODELS / reference.file), providers=["CPUExecutionProvider"])
    expected = {
        picture: reference.detect(session, PHOTOS / "images" / name, coco_class_names())
        for picture, name in annotations.pictures.items()
    }

    assert len(found) == 100
    ours, theirs = annotations.mean_ap(found), annotations.mean_ap(expected)
    assert theirs == pytest.approx(reference.map_, abs=0.001)
    assert ours == pytest.approx(reference.map_, abs=0.002)
    assert ours == pytest.approx(theirs, abs=0.002)


ENLARGED = 3


def enlarged(path: Path) -> bytes:
    """The photo as a JPEG of three times its sides, of which the server decodes half."""
    photo = cv2.resize(cv2.imread(str(path)), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", photo, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes()


def test_a_jpeg_of_which_half_is_decoded_is_as_good_as_all_its_pixels(coco: Client) -> None:
    annotations, version = Annotations(PHOTOS / "annotations.json"), "yolox_nano"
    options = DetectOptions(
        confidence_threshold=CONFIDENCE, iou_threshold=REFERENCES[version].iou, multi_label=True, max_detections=MOST
    )
    found: dict[str, dict[int, list[Found]]] = {"reduced": {}, "whole": {}}
    for picture, name in annotations.pictures.items():
        file = enlarged(PHOTOS / "images" / name)
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
        requests = {"reduced": encoded_request(file), "whole": raw_request(pixels)}
        for kind, request in requests.items():
            request.version = version
            request.options.CopyFrom(options)
            boxes = [Found.of(detection) for detection in coco.detect(request).detections]
            found[kind][picture] = [each._replace(xyxy=tuple(edge / ENLARGED for edge in each.xyxy)) for each in boxes]

    assert found["reduced"] != found["whole"]  # or nothing was reduced
    assert annotations.mean_ap(found["reduced"]) == pytest.approx(annotations.mean_ap(found["whole"]), abs=0.003)
