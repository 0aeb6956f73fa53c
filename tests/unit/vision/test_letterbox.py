"""Known cases; tests/property has the rules that hold for every size."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from detector_grpc.vision.letterbox import Letterbox, Resize

PAD = 114


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("image_wh", "input_hw", "resize", "resized_wh", "pad_xy"),
    [
        ((1280, 720), (640, 640), "letterbox", (640, 360), (0, 140)),
        ((1280, 720), (640, 640), "letterbox_topleft", (640, 360), (0, 0)),
        ((720, 1280), (640, 640), "letterbox", (360, 640), (140, 0)),
        ((720, 1280), (640, 640), "letterbox_topleft", (360, 640), (0, 0)),
        ((640, 640), (640, 640), "letterbox", (640, 640), (0, 0)),
        ((320, 320), (640, 640), "letterbox", (640, 640), (0, 0)),
        ((100, 50), (64, 128), "letterbox", (128, 64), (0, 0)),
        ((50, 100), (64, 128), "letterbox", (32, 64), (48, 0)),
        ((10, 7), (10, 10), "letterbox", (10, 7), (0, 1)),  # 3 px of padding: 1 above, 2 below
        ((7, 10), (10, 10), "letterbox", (7, 10), (1, 0)),
        ((3, 2), (640, 640), "letterbox", (640, 427), (0, 106)),
        ((5000, 1), (640, 640), "letterbox", (640, 1), (0, 319)),
        ((1, 5000), (640, 640), "letterbox", (1, 640), (319, 0)),
        ((1, 5000), (640, 640), "letterbox_topleft", (1, 640), (0, 0)),
        ((1, 1), (640, 640), "letterbox", (640, 640), (0, 0)),
        ((1280, 720), (640, 640), "stretch", (640, 640), (0, 0)),
        ((1, 5000), (64, 128), "stretch", (128, 64), (0, 0)),
    ],
)
def test_the_picture_lies_where_the_exports_were_trained_to_see_it(
    image_wh: tuple[int, int],
    input_hw: tuple[int, int],
    resize: Resize,
    resized_wh: tuple[int, int],
    pad_xy: tuple[int, int],
) -> None:
    assert Letterbox.fit(image_wh, input_hw, resize) == Letterbox(image_wh, resized_wh, pad_xy, input_hw)


@pytest.mark.parametrize("resize", get_args(Resize))
@pytest.mark.parametrize("image_wh", [(10, 7), (7, 10), (23, 4), (1, 30), (30, 1), (64, 64)])
def test_the_canvas_is_the_picture_where_it_was_fitted_and_padding_elsewhere(
    image_wh: tuple[int, int], resize: Resize
) -> None:
    width, height = image_wh
    letterbox = Letterbox.fit(image_wh, (32, 48), resize)
    canvas = letterbox.apply(np.full((height, width, 3), (10, 20, 30), np.uint8), PAD)
    expected = np.full((32, 48, 3), PAD, np.uint8)
    (x, y), (resized_width, resized_height) = letterbox.pad_xy, letterbox.resized_wh
    expected[y : y + resized_height, x : x + resized_width] = 10, 20, 30
    np.testing.assert_array_equal(canvas, expected)


def test_a_picture_of_the_models_size_is_not_changed() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(Letterbox.fit((64, 64), (64, 64), "letterbox").apply(picture, PAD), picture)


def test_a_picture_that_only_needs_padding_keeps_its_samples() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (31, 64, 3), np.uint8)
    canvas = Letterbox.fit((64, 31), (64, 64), "letterbox").apply(picture, PAD)
    np.testing.assert_array_equal(canvas[16:47], picture)
    assert (canvas[:16] == PAD).all()
    assert (canvas[47:] == PAD).all()


def test_a_read_only_picture_with_reversed_channels_can_be_fitted() -> None:
    samples = np.frombuffer(bytes(range(60)), np.uint8).reshape(4, 5, 3)
    canvas = Letterbox.fit((5, 4), (8, 10), "letterbox_topleft").apply(samples[:, :, ::-1], PAD)
    expected = Letterbox.fit((5, 4), (8, 10), "letterbox_topleft").apply(samples.copy(), PAD)[:, :, ::-1]
    np.testing.assert_array_equal(canvas, expected)


def test_boxes_map_with_scale_and_padding() -> None:
    letterbox = Letterbox.fit((1280, 720), (640, 640), "letterbox")
    np.testing.assert_allclose(letterbox.to_model(boxes((0, 0, 1280, 720))), boxes((0, 140, 640, 500)))
    np.testing.assert_allclose(letterbox.to_image(boxes((320, 320, 330, 340))), boxes((640, 360, 660, 400)))


def test_each_axis_uses_the_ratio_it_was_really_resized_by() -> None:
    # 4000 x 3 becomes 640 x 1 (rounded up from 0.48): a common factor would put the lower edge at 6.25.
    letterbox = Letterbox.fit((4000, 3), (640, 640), "letterbox")
    assert letterbox.resized_wh == (640, 1)
    y = letterbox.pad_xy[1]
    np.testing.assert_allclose(letterbox.to_image(boxes((0, y, 640, y + 0.5))), boxes((0, 0, 4000, 1.5)))
    np.testing.assert_allclose(letterbox.to_model(boxes((0, 0, 4000, 3))), boxes((0, y, 640, y + 1)))


def test_boxes_are_clipped_to_the_picture_on_each_side() -> None:
    letterbox = Letterbox.fit((1280, 720), (640, 640), "letterbox")
    np.testing.assert_array_equal(letterbox.to_image(boxes((-50, 0, 700, 640))), boxes((0, 0, 1280, 720)))


@pytest.mark.parametrize("map_boxes", [Letterbox.to_image, Letterbox.to_model])
def test_no_boxes_map_to_no_boxes(map_boxes: object) -> None:
    assert callable(map_boxes)
    mapped = map_boxes(Letterbox.fit((10, 10), (64, 64), "letterbox"), np.empty((0, 4), np.float32))
    assert mapped.shape == (0, 4)
    assert mapped.dtype == np.float32
