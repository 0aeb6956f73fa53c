"""What pycocotools says arrives as values of ours, and what it does not say is counted by its matches."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from support.scenes import detections, perfect, true_box

from detector_grpc.coco import Annotations
from detector_grpc.errors import SetupInvalid
from detector_grpc.evaluation.reference import confusion, evaluate, import_pycocotools

PICTURES = {0: "a.png", 5: "b.png"}
CLASSES = ("car", "bus")
CAR, BUS = 0, 1
LEFT, RIGHT = (0, 0, 100, 100), (200, 0, 100, 100)
ON_LEFT, ON_RIGHT, NOWHERE = (0, 0, 100, 100), (200, 0, 300, 100), (500, 500, 600, 600)
THERE = Annotations(PICTURES, CLASSES, (true_box(0, "car", LEFT), true_box(0, "bus", RIGHT), true_box(5, "car", LEFT)))


def test_everything_found_is_an_average_precision_of_one_even_with_ids_of_zero() -> None:
    evaluation = evaluate(THERE, perfect(THERE))
    assert evaluation.stats[:2].tolist() == pytest.approx([1, 1])
    assert evaluation.precision.min() == pytest.approx(1)
    assert [matches.boxes.tolist() for matches in evaluation.matches] == [[1, 1], [1, 0]]


def test_nothing_found_is_an_average_precision_of_zero() -> None:
    evaluation = evaluate(THERE, {0: detections(), 5: detections()})
    assert evaluation.stats[:2].tolist() == [0, 0]
    assert evaluation.recall.max() == 0


def test_matches_come_most_confident_first_with_their_picture() -> None:
    found = {0: detections((*ON_LEFT, 0.5, CAR), (*NOWHERE, 0.7, CAR)), 5: detections((*ON_LEFT, 0.6, CAR))}
    matches = evaluate(THERE, found).matches[CAR]
    np.testing.assert_allclose(matches.confidence, [0.7, 0.6, 0.5])
    assert matches.picture.tolist() == [0, 1, 0]
    assert matches.is_true.all(axis=0).tolist() == [False, True, True]
    assert not matches.is_ignored.any()


def test_a_second_box_on_the_same_object_is_not_true() -> None:
    found = {0: detections((*ON_LEFT, 0.9, CAR), (*ON_LEFT, 0.8, CAR)), 5: detections()}
    assert evaluate(THERE, found).matches[CAR].is_true[0].tolist() == [True, False]


def test_what_lies_on_a_crowd_is_neither_true_nor_false_and_the_crowd_need_not_be_found() -> None:
    there = Annotations(PICTURES, CLASSES, (true_box(0, "car", LEFT, is_crowd=True), true_box(0, "car", RIGHT)))
    found = {
        0: detections((*ON_RIGHT, 0.9, CAR), (0, 0, 50, 50, 0.8, CAR), (50, 50, 90, 90, 0.7, CAR)),
        5: detections(),
    }
    evaluation = evaluate(there, found)
    assert evaluation.stats[0] == pytest.approx(1)
    assert evaluation.matches[CAR].is_ignored[0].tolist() == [False, True, True]
    assert evaluation.matches[CAR].boxes.sum() == 1
    assert confusion(there, found).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert confusion(there, {0: detections(), 5: detections()}).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_a_class_that_is_nowhere_has_no_precision() -> None:
    there = Annotations(PICTURES, CLASSES, (true_box(0, "car", LEFT),))
    evaluation = evaluate(there, perfect(there))
    assert (evaluation.precision[:, :, BUS] == -1).all()
    assert evaluation.stats[0] == pytest.approx(1)


def test_confusion_counts_rows_of_what_is_there_by_columns_of_what_was_found() -> None:
    found = {
        0: detections((*ON_LEFT, 0.9, BUS), (*NOWHERE, 0.8, CAR), (*ON_RIGHT, 0.7, BUS)),
        5: detections(),
    }
    assert confusion(THERE, found).tolist() == [[0, 1, 1], [0, 1, 0], [1, 0, 0]]


def test_an_object_is_taken_for_the_class_of_its_most_confident_box() -> None:
    found = {0: detections((*ON_LEFT, 0.9, BUS), (*ON_LEFT, 0.8, CAR)), 5: detections()}
    assert confusion(THERE, found).tolist() == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    evaluate(THERE, perfect(THERE))
    confusion(THERE, perfect(THERE))
    assert capfd.readouterr() == ("", "")


def test_without_pycocotools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name.startswith("pycocotools"):
            raise ImportError
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SetupInvalid, match=r"detector-grpc\[evaluate\]"):
        import_pycocotools()
