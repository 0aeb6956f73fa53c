"""Boxes drawn into pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2, image_pb2
from detector_grpc.client import draw
from detector_grpc.client.results import detection_result
from detector_grpc.vision.draw import _BLACK, _PALETTE, _legible_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.client import DetectionResult
    from detector_grpc.vision.draw import Rgb

GREY = 127


def result(
    width: int,
    height: int,
    *boxes: tuple[float, float, float, float],
    class_id: int = 0,
    name: str = "person",
    track_id: int | None = None,
) -> DetectionResult:
    return detection_result(
        detector_service_pb2.DetectResponse(
            detections=[
                detection_pb2.Detection(
                    class_id=class_id,
                    class_name=name,
                    confidence=0.5,
                    track_id=track_id,
                    bbox=detection_pb2.BoundingBox(x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3]),
                )
                for box in boxes
            ],
            image_size=image_pb2.ImageSize(width=width, height=height),
        )
    )


def grey(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def luma(rgb: Rgb) -> float:
    return np.dot(rgb, (0.299, 0.587, 0.114))


def test_the_given_picture_is_not_changed() -> None:
    image = grey(200, 100)
    drawn = draw(image, result(200, 100, (10, 40, 100, 90)))
    assert (image == GREY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != GREY).any()


def test_a_picture_without_objects_stays_as_it_is() -> None:
    np.testing.assert_array_equal(draw(grey(20, 10), result(20, 10)), grey(20, 10))


def test_lines_lie_on_the_edges_of_the_box_and_nowhere_inside() -> None:
    drawn = draw(grey(200, 200), result(200, 200, (50, 100, 150, 180)))
    for y, x in ((100, 120), (179, 120), (140, 50), (140, 149)):
        assert tuple(drawn[y, x]) == _PALETTE[0]
    assert (drawn[110:170, 60:140] == GREY).all()


def test_colours_follow_the_order_of_the_channels() -> None:
    found = result(200, 200, (50, 100, 150, 180), class_id=3)
    rgb, bgr = draw(grey(200, 200), found, "RGB"), draw(grey(200, 200), found, "BGR")
    np.testing.assert_array_equal(rgb, bgr[:, :, ::-1])


def test_a_class_has_the_same_colour_in_every_picture() -> None:
    first = draw(grey(200, 200), result(200, 200, (50, 100, 150, 180), class_id=5))
    second = draw(grey(300, 250), result(300, 250, (50, 100, 150, 180), class_id=5))
    assert tuple(first[140, 50]) == tuple(second[140, 50]) == _PALETTE[5]


def test_an_object_that_is_followed_has_the_colour_of_its_identity_and_says_it() -> None:
    box = (50.0, 100.0, 150.0, 180.0)
    nobody = draw(grey(200, 200), result(200, 200, box, class_id=5))
    first = draw(grey(200, 200), result(200, 200, box, class_id=5, track_id=1))
    second = draw(grey(200, 200), result(200, 200, box, class_id=5, track_id=2))
    assert tuple(nobody[140, 50]) == _PALETTE[5]
    assert tuple(first[140, 50]) == _PALETTE[1]
    assert tuple(second[140, 50]) == _PALETTE[2]
    label_px = [int((drawn[:100] != GREY).any(axis=(0, 2)).sum()) for drawn in (nobody, first)]
    assert label_px[0] < label_px[1]


def test_no_two_classes_of_the_palette_share_a_colour() -> None:
    assert len(set(_PALETTE)) == len(_PALETTE)


@pytest.mark.parametrize("fill", _PALETTE)
def test_text_contrasts_with_every_background(fill: Rgb) -> None:
    text = _legible_on(fill)
    contrast = luma(fill) if text == _BLACK else 255 - luma(fill)
    assert contrast > 100


def test_a_label_lies_above_its_box_where_there_is_room() -> None:
    drawn = draw(grey(400, 400), result(400, 400, (100, 200, 300, 300)))
    assert (drawn[185:199, 105:150] != GREY).any()
    assert (drawn[210:290, 110:290] == GREY).all()


def test_a_label_without_room_above_lies_inside_its_box() -> None:
    drawn = draw(grey(400, 400), result(400, 400, (100, 0, 300, 300)))
    assert tuple(drawn[5, 101]) == _PALETTE[0]
    assert (drawn[60:290, 110:290] == GREY).all()


def test_a_label_at_the_right_edge_is_moved_into_the_picture_whole() -> None:
    def painted(x_min: float) -> NDArray[np.intp]:
        drawn = draw(grey(400, 400), result(400, 400, (x_min, 200, x_min + 10, 300)))
        return np.nonzero((drawn[195] != GREY).any(axis=1))[0]

    at_the_edge, with_room = painted(390), painted(100)
    assert at_the_edge.max() == 399
    assert len(at_the_edge) == len(with_room)


def test_lines_grow_with_the_picture() -> None:
    def line_px(side: int) -> int:
        drawn = draw(grey(side, side), result(side, side, (side * 0.25, side * 0.5, side * 0.75, side * 0.9)))
        return int((drawn[round(side * 0.7), : side // 2] != GREY).any(axis=1).sum())

    assert 1 <= line_px(100) < line_px(1000) < line_px(4000)


@settings(max_examples=60)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    corners=st.tuples(*[st.floats(-10, 310, width=32)] * 4),
    name=st.text(max_size=40),
)
def test_any_box_and_name_can_be_drawn_into_any_picture(
    width: int, height: int, corners: tuple[float, float, float, float], name: str
) -> None:
    x, y = sorted(corners[:2]), sorted(corners[2:])
    drawn = draw(grey(width, height), result(width, height, (x[0], y[0], x[1], y[1]), name=name))
    assert drawn.shape == (height, width, 3)
    assert (drawn != GREY).any()
