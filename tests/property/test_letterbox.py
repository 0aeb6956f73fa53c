"""What holds for every picture, input and way of resizing."""

from __future__ import annotations

from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.vision.letterbox import Letterbox, Resize

sides = st.integers(1, 9000)
sizes = st.tuples(sides, sides)
inputs = st.tuples(st.integers(1, 1280), st.integers(1, 1280))
resizes = st.sampled_from(get_args(Resize))
letterboxes = st.builds(Letterbox.fit, sizes, inputs, resizes)
padded = st.builds(Letterbox.fit, sizes, inputs, st.sampled_from(["letterbox", "letterbox_topleft"]))
fractions = st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=20)
numbers = st.floats(-1e6, 1e6, width=32)


def boxes_in(letterbox: Letterbox, parts: list[tuple[float, ...]]) -> np.ndarray:
    """Boxes within the picture, their corners in order."""
    width, height = letterbox.image_wh
    boxes = np.array(parts) * [width, height, width, height]
    return np.hstack([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])]).astype(
        np.float32
    )


@given(letterboxes)
def test_the_picture_lies_within_the_input_and_touches_it(letterbox: Letterbox) -> None:
    (width, height), (x, y) = letterbox.resized_wh, letterbox.pad_xy
    input_height, input_width = letterbox.input_hw
    assert 1 <= width <= input_width
    assert 1 <= height <= input_height
    assert 0 <= x <= input_width - width
    assert 0 <= y <= input_height - height
    assert width == input_width or height == input_height


@given(sizes, inputs)
def test_stretching_leaves_no_padding(image_wh: tuple[int, int], input_hw: tuple[int, int]) -> None:
    letterbox = Letterbox.fit(image_wh, input_hw, "stretch")
    assert (letterbox.resized_wh, letterbox.pad_xy) == (input_hw[::-1], (0, 0))


@given(sizes, inputs)
def test_padding_is_the_same_on_both_sides_but_for_one_pixel_or_all_on_the_far_sides(
    image_wh: tuple[int, int], input_hw: tuple[int, int]
) -> None:
    centered, cornered = (Letterbox.fit(image_wh, input_hw, each) for each in ("letterbox", "letterbox_topleft"))
    assert cornered.pad_xy == (0, 0)
    assert cornered.resized_wh == centered.resized_wh
    for near, side, whole in zip(centered.pad_xy, centered.resized_wh, reversed(input_hw), strict=True):
        far = whole - side - near
        assert near <= far <= near + 1


@given(padded)
def test_each_side_is_resized_by_the_same_factor_but_for_rounding(letterbox: Letterbox) -> None:
    (width, height), (input_height, input_width) = letterbox.image_wh, letterbox.input_hw
    factor = min(input_width / width, input_height / height)
    for resized, side in zip(letterbox.resized_wh, (width, height), strict=True):
        assert abs(resized - side * factor) <= 0.5 + 1e-6 or resized == 1


@given(letterboxes, fractions)
def test_boxes_return_from_the_model_to_within_a_pixel(letterbox: Letterbox, parts: list[tuple[float, ...]]) -> None:
    boxes = boxes_in(letterbox, parts)
    returned = letterbox.to_image(letterbox.to_model(boxes))
    assert np.abs(returned - boxes).max() <= 1


@given(letterboxes)
def test_the_whole_picture_is_exactly_where_it_was_pasted(letterbox: Letterbox) -> None:
    (width, height), (x, y) = letterbox.resized_wh, letterbox.pad_xy
    whole = np.array([[0, 0, *letterbox.image_wh]], np.float32)
    np.testing.assert_allclose(letterbox.to_model(whole), [[x, y, x + width, y + height]], rtol=1e-5)


@given(letterboxes, st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=20))
def test_boxes_from_the_model_are_always_inside_the_picture(
    letterbox: Letterbox, rows: list[tuple[float, ...]]
) -> None:
    width, height = letterbox.image_wh
    boxes = letterbox.to_image(np.array(rows, np.float32).reshape(-1, 4))
    assert boxes.dtype == np.float32
    assert boxes.shape == (len(rows), 4)
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()


@given(letterboxes, st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=20))
def test_corners_that_are_in_order_stay_in_order(letterbox: Letterbox, rows: list[tuple[float, ...]]) -> None:
    rows = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rows]
    boxes = letterbox.to_image(np.array(rows, np.float32))
    assert (boxes[:, :2] <= boxes[:, 2:]).all()


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.tuples(*[st.integers(1, 200)] * 2), resizes)
def test_the_canvas_holds_the_picture_within_a_frame_of_padding(
    image_wh: tuple[int, int], input_hw: tuple[int, int], resize: str
) -> None:
    letterbox = Letterbox.fit(image_wh, input_hw, resize)  # type: ignore[arg-type]
    canvas = letterbox.apply(np.full((image_wh[1], image_wh[0], 3), 200, np.uint8), 7)
    assert canvas.shape == (*input_hw, 3)
    (width, height), (x, y) = letterbox.resized_wh, letterbox.pad_xy
    inside = np.zeros(input_hw, bool)
    inside[y : y + height, x : x + width] = True
    assert (canvas[inside] == 200).all()
    assert (canvas[~inside] == 7).all()
