"""A real detector with every output layout and kind of input finds the same boxes as the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.calls import SERVING, connected, encoded_request
from support.servers import BUNDLED_MODELS, server_process
from support.surgery import CONFIDENCE, GRAFTS, INLETS, IOU, MOST

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.surgery import Graft, Inlet

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectResponse

PICTURES = sorted((BUNDLED_MODELS.parent / "pictures").glob("*.jpg"))
# Several classes per box, as suppression in a graph has it.
OPTIONS = DetectOptions(
    confidence_threshold=CONFIDENCE,
    iou_threshold=IOU,
    multi_label=True,
    class_agnostic_nms=False,
    max_detections=MOST,
)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server that holds the original as `original` and every variant by its number."""
    repository = tmp_path_factory.mktemp("models")
    (repository / "codes").mkdir()
    (repository / "codes" / "original").symlink_to(BUNDLED_MODELS / "codes" / "v1")
    for number, variant in enumerate((*GRAFTS, *INLETS)):
        variant.write(repository / "codes" / str(number))
    with server_process(repository=repository) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        assert server.log("version failed") == []
        yield client


def found(client: Client, version: str) -> Iterator[DetectResponse]:
    for picture in PICTURES:
        yield client.detect(encoded_request(picture.read_bytes(), version=version, options=OPTIONS))


def assert_alike(client: Client, version: str) -> None:
    number = 0
    for expected, actual in zip(found(client, "original"), found(client, version), strict=True):
        assert [each.class_name for each in actual.detections] == [each.class_name for each in expected.detections]
        for ours, theirs in zip(actual.detections, expected.detections, strict=True):
            assert ours.confidence == pytest.approx(theirs.confidence, abs=2e-3)
            assert iou(ours.bbox, theirs.bbox) >= 0.99
            number += 1
    assert number >= 10


def iou(one: object, other: object) -> float:
    (a, b) = (np.array([[box.x_min, box.y_min], [box.x_max, box.y_max]]) for box in (one, other))
    shared = np.clip(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), 0, None).prod()
    return float(shared / ((a[1] - a[0]).prod() + (b[1] - b[0]).prod() - shared))


@pytest.mark.parametrize(("number", "graft"), list(enumerate(GRAFTS)), ids=[graft.name for graft in GRAFTS])
def test_every_output_layout_gives_the_boxes_of_the_original(variants: Client, number: int, graft: Graft) -> None:
    request = GetModelRequest(model="codes", version=str(number))
    assert variants.models.GetModel(request).version.head == graft.head
    assert_alike(variants, str(number))


@pytest.mark.parametrize(
    ("number", "inlet"), list(enumerate(INLETS, len(GRAFTS))), ids=[inlet.name for inlet in INLETS]
)
def test_every_kind_of_input_gives_the_boxes_of_the_original(variants: Client, number: int, inlet: Inlet) -> None:
    size = variants.models.GetModel(GetModelRequest(model="codes", version=str(number))).version.input_size
    assert (size.width, size.height) == (256, 192 if inlet.cut else 256)
    assert_alike(variants, str(number))
