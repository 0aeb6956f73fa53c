"""The experiment labels what a server captured, and says truly how many labels that saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from curves import CAPTURED, RANDOM, Curves
from serve import captured, choose
from support.onnx_files import tiny_onnx

if TYPE_CHECKING:
    from pathlib import Path

RESULT = {
    "base-0": 0.5,
    "captured-50": 0.6, "captured-100": 0.7, "captured-200": 0.8,
    "random-50": 0.55, "random-100": 0.65, "random-200": 0.9,
}  # fmt: skip


def test_the_server_captures_what_it_was_unsure_of(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx", sees_red=True)
    files = []
    for redness in (250, 150, 100):
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[..., 2] = redness
        picture[:, : redness // 8, :2] = 200  # no two are alike but for the light
        files.append(tmp_path / f"{redness}.png")
        cv2.imwrite(str(files[-1]), picture)

    unsure = captured(tmp_path / "models", files, tmp_path / "capture")

    assert set(unsure) == {1, 2}
    assert unsure[1] == pytest.approx(1 - 0.9 * 150 / 255, abs=0.02)
    assert unsure[2] == pytest.approx(1 - 0.9 * 100 / 255, abs=0.02)


def test_the_most_uncertain_of_the_captured_pictures_are_labelled() -> None:
    unsure = {7: 0.4, 2: 0.9, 5: 0.4, 3: 0.6}

    assert choose(CAPTURED, unsure, served=10, count=3, seed=0) == [2, 3, 5]


def test_more_labels_than_captured_pictures_are_no_experiment() -> None:
    with pytest.raises(SystemExit, match="only 1 pictures were captured, 2 are to be labelled"):
        choose(CAPTURED, {7: 0.4}, served=10, count=2, seed=0)


def test_random_pictures_are_others_for_other_seeds_and_more_of_the_same_for_more_labels() -> None:
    few, many, others = (choose(RANDOM, {}, 100, count, seed) for count, seed in ((10, 1), (20, 1), (10, 2)))

    assert many[:10] == few
    assert len(set(many)) == 20
    assert set(others) != set(few)


class TestCurves:
    def test_labels_that_are_needed_lie_between_the_counts(self) -> None:
        curves = Curves([RESULT])

        assert curves.shares(50) == pytest.approx([25 / 50])
        assert curves.shares(100) == pytest.approx([75 / 100])

    def test_what_captured_labels_never_reach_takes_infinitely_many(self) -> None:
        curves = Curves([RESULT])

        assert curves.shares(200) == [float("inf")]
        assert curves.table().splitlines()[-1].endswith("| 0 of 1 | more |")

    def test_numbers_of_labels_that_are_not_done_for_all_are_left_out(self) -> None:
        half = {name: value for name, value in RESULT.items() if name != "random-200"}

        curves = Curves([RESULT, half])

        assert curves.counts == [0, 50, 100]
        np.testing.assert_allclose(curves.precision[RANDOM], [[0.5, 0.55, 0.65]] * 2)

    def test_a_plot_is_drawn(self, tmp_path: Path) -> None:
        Curves([RESULT, RESULT]).plot(tmp_path / "labels.svg")

        assert (tmp_path / "labels.svg").stat().st_size > 5_000
