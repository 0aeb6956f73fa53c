"""Each head against the same rule written as plain loops over numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector_grpc.vision.boxes import cxcywh_to_xyxy
from detector_grpc.vision.heads import HEADS, HeadName
from detector_grpc.vision.heads.dense import cells, grid
from detector_grpc.vision.heads.head import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detector_grpc.vision.detections import Detections

INPUT_HW = (64, 96)
CLASSES = 3
NUMBER = cells(INPUT_HW, (8, 16, 32))
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)
EVERY_DENSE_HEAD = pytest.mark.parametrize("head", [name for name, head in HEADS.items() if not head.suppressed])
BOTH_WAYS = pytest.mark.parametrize("multi_label", [False, True], ids=["best class", "every class"])

Corners = tuple[float, float, float, float]
Scored = tuple[Corners, list[float]]


def dense_output(rng: np.random.Generator, *, objectness: bool) -> list[np.ndarray]:
    rows = [rng.uniform(1, 60, (4, NUMBER)), rng.uniform(0, 1, (CLASSES + objectness, NUMBER))]
    return [np.vstack(rows).astype(np.float32)]


def yolox_output(rng: np.random.Generator) -> list[np.ndarray]:
    (output,) = dense_output(rng, objectness=True)
    output[:4] = rng.uniform(-1, 2, (4, NUMBER))
    return [output]


def end_to_end_output(rng: np.random.Generator) -> list[np.ndarray]:
    boxes, confidence, class_id = rng.uniform(0, 60, (4, 50)), rng.uniform(0, 1, 50), rng.integers(0, CLASSES, 50)
    return [np.vstack([boxes, confidence, class_id]).astype(np.float32)]


def efficient_nms_output(rng: np.random.Generator) -> list[np.ndarray]:
    (rows,) = end_to_end_output(rng)
    return [np.array([30], np.float32), rows[:4].T.copy(), rows[4], rows[5]]


def labels_boxes_scores_output(rng: np.random.Generator) -> list[np.ndarray]:
    (rows,) = end_to_end_output(rng)
    return [rows[5], rows[:4].T.copy(), rows[4]]


def queries_output(rng: np.random.Generator, columns: int) -> list[np.ndarray]:
    return [rng.uniform(0, 1, (50, 4)).astype(np.float32), rng.normal(0, 2, (50, columns)).astype(np.float32)]


OUTPUTS: dict[HeadName, Callable[[np.random.Generator], list[np.ndarray]]] = {
    "cxcywh": lambda rng: dense_output(rng, objectness=False),
    "xyxy": lambda rng: dense_output(rng, objectness=False),
    "yolov5": lambda rng: dense_output(rng, objectness=True),
    "yolox": yolox_output,
    "end_to_end": end_to_end_output,
    "efficient_nms": efficient_nms_output,
    "detr": lambda rng: queries_output(rng, CLASSES),
    "detr_softmax": lambda rng: queries_output(rng, CLASSES + 1),
    "labels_boxes_scores": labels_boxes_scores_output,
}


def around(x: float, y: float, width: float, height: float) -> Corners:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def one_hot(class_id: float, confidence: float) -> list[float]:
    return [confidence if each == class_id else 0.0 for each in range(CLASSES)]


def scored(head: HeadName, outputs: list[np.ndarray]) -> Iterator[Scored]:  # noqa: C901, PLR0912 - a case for each head
    """Corners and the confidence of every class, box by box; class 0.0 means that the box is not of that class."""
    arrays = [output.tolist() for output in outputs]
    match head:
        case "cxcywh":
            for x, y, width, height, *scores in zip(*arrays[0], strict=True):
                yield around(x, y, width, height), scores
        case "xyxy":
            for left, top, right, bottom, *scores in zip(*arrays[0], strict=True):
                yield (left, top, right, bottom), scores
        case "yolov5":
            for x, y, width, height, objectness, *scores in zip(*arrays[0], strict=True):
                yield around(x, y, width, height), [objectness * score for score in scores]
        case "yolox":
            places = [
                (column, row, stride)
                for stride in (8, 16, 32)
                for row in range(INPUT_HW[0] // stride)
                for column in range(INPUT_HW[1] // stride)
            ]
            for (column, row, stride), values in zip(places, zip(*arrays[0], strict=True), strict=True):
                x, y, width, height, objectness, *scores = values
                center = ((x + column) * stride, (y + row) * stride)
                box = around(*center, math.exp(width) * stride, math.exp(height) * stride)
                yield box, [objectness * score for score in scores]
        case "end_to_end":
            for left, top, right, bottom, confidence, class_id in zip(*arrays[0], strict=True):
                yield (left, top, right, bottom), one_hot(class_id, confidence)
        case "efficient_nms":
            count, boxes, confidences, class_ids = arrays
            for index in range(int(count[0])):
                yield tuple(boxes[index]), one_hot(class_ids[index], confidences[index])
        case "labels_boxes_scores":
            for class_id, box, confidence in zip(*arrays, strict=True):
                yield tuple(box), one_hot(class_id, confidence)
        case "detr" | "detr_softmax":
            height, width = INPUT_HW
            for (x, y, across, down), logits in zip(*arrays, strict=True):
                box = around(x * width, y * height, across * width, down * height)
                if head == "detr":
                    yield box, [1 / (1 + math.exp(-logit)) for logit in logits]
                else:
                    powers = [math.exp(logit) for logit in logits]
                    yield box, [power / sum(powers) for power in powers[:-1]]


def expected(
    head: HeadName, outputs: list[np.ndarray], thresholds: np.ndarray, *, multi_label: bool
) -> list[tuple[float, ...]]:
    rows = []
    for box, scores in scored(head, outputs):
        for class_id, score in enumerate(scores):
            if score > 0 and score >= thresholds[class_id] and (multi_label or score == max(scores)):
                rows.append((*box, score, class_id))
    return sorted(rows)


def found(head: HeadName, outputs: list[np.ndarray], thresholds: object, *, multi_label: bool = False) -> Detections:
    kept = HEADS[head].decode(outputs, np.asarray(thresholds, np.float32), INPUT_HW, multi_label=multi_label).boxes
    assert kept.xyxy.dtype == np.float32
    assert kept.confidence.dtype == np.float32
    assert kept.class_id.dtype == np.int32
    assert kept.xyxy.shape == (len(kept), 4)
    return kept


def rows_of(kept: Detections) -> list[tuple[float, ...]]:
    parts = kept.xyxy.tolist(), kept.confidence.tolist(), kept.class_id.tolist()
    return sorted((*box, confidence, class_id) for box, confidence, class_id in zip(*parts, strict=True))


@BOTH_WAYS
@EVERY_HEAD
def test_a_head_agrees_with_plain_loops(head: HeadName, *, multi_label: bool) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        outputs = OUTPUTS[head](rng)
        thresholds = rng.uniform(0.1, 0.7, CLASSES).astype(np.float32)
        thresholds[seed % CLASSES] = np.inf
        actual = rows_of(found(head, outputs, thresholds, multi_label=multi_label))
        wanted = expected(head, outputs, thresholds, multi_label=multi_label)
        assert len(wanted) > 3
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4)


@EVERY_HEAD
def test_no_wanted_class_gives_no_boxes(head: HeadName) -> None:
    outputs = OUTPUTS[head](np.random.default_rng(0))
    for multi_label in (False, True):
        assert len(found(head, outputs, np.full(CLASSES, np.inf), multi_label=multi_label)) == 0


@EVERY_HEAD
def test_the_outputs_are_neither_changed_nor_kept(head: HeadName) -> None:
    outputs = OUTPUTS[head](np.random.default_rng(0))
    before = [output.copy() for output in outputs]
    kept = found(head, outputs, np.zeros(CLASSES))
    for output, copy in zip(outputs, before, strict=True):
        np.testing.assert_array_equal(output, copy)
        assert not np.shares_memory(kept.xyxy, output)
        assert not np.shares_memory(kept.confidence, output)


@EVERY_HEAD
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_the_model_says_boxes_are_finite_and_classes_exist(head: HeadName, bad: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        outputs = OUTPUTS[head](rng)
        for output in outputs:
            output.ravel()[rng.integers(0, output.size, 1 + output.size // 10)] = bad
        kept = found(head, outputs, np.full(CLASSES, 0.01), multi_label=bool(rng.integers(2)))
        assert np.isfinite(kept.xyxy).all()
        assert np.isfinite(kept.confidence).all()
        assert ((kept.class_id >= 0) & (kept.class_id < CLASSES)).all()


@EVERY_DENSE_HEAD
def test_mask_coefficients_behind_the_classes_are_not_read(head: HeadName) -> None:
    (output,) = OUTPUTS[head](np.random.default_rng(0))
    with_masks = np.vstack([output, np.random.default_rng(1).uniform(0, 9, (32, NUMBER)).astype(np.float32)])
    thresholds = np.full(CLASSES, 0.1)
    assert rows_of(found(head, [with_masks], thresholds)) == rows_of(found(head, [output], thresholds))


@EVERY_DENSE_HEAD
def test_a_transposed_output_is_read_alike(head: HeadName) -> None:
    (output,) = OUTPUTS[head](np.random.default_rng(0))
    rows_last = np.ascontiguousarray(output.T)
    thresholds = np.full(CLASSES, 0.1)
    assert rows_of(found(head, [rows_last.T], thresholds)) == rows_of(found(head, [output], thresholds))


def one(*column: float) -> list[np.ndarray]:
    return [np.array([column], np.float32).T]


@BOTH_WAYS
def test_a_score_at_the_threshold_counts_and_one_below_does_not(*, multi_label: bool) -> None:
    assert len(found("xyxy", one(1, 2, 3, 4, 0.5), [0.5], multi_label=multi_label)) == 1
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert len(found("xyxy", one(1, 2, 3, 4, below), [0.5], multi_label=multi_label)) == 0


@BOTH_WAYS
def test_each_class_has_its_own_threshold(*, multi_label: bool) -> None:
    output = np.array([[0, 0, 10, 10, 0.8, 0.0], [0, 0, 20, 20, 0.0, 0.2]], np.float32).T
    kept = rows_of(found("xyxy", [output], [0.9, 0.1], multi_label=multi_label))
    assert kept == [(0.0, 0.0, 20.0, 20.0, pytest.approx(0.2), 1)]


def test_a_class_that_is_not_wanted_is_never_returned() -> None:
    output, thresholds = one(0, 0, 10, 10, 1.0, 0.6), [np.inf, 0.5]
    assert rows_of(found("xyxy", output, thresholds, multi_label=True)) == [(0, 0, 10, 10, pytest.approx(0.6), 1)]
    assert rows_of(found("xyxy", output, thresholds)) == []  # its best class is another


@BOTH_WAYS
def test_a_score_that_is_no_number_is_left_out(*, multi_label: bool) -> None:
    assert len(found("xyxy", one(0, 0, 1, 1, np.nan), [0.0], multi_label=multi_label)) == 0


def test_rows_that_no_object_fills_are_left_out_even_at_threshold_zero() -> None:
    outputs = [np.zeros((6, 10), np.float32)]
    outputs[0][:, 0] = 1, 2, 3, 4, 0.5, 2
    assert rows_of(found("end_to_end", outputs, np.zeros(CLASSES))) == [(1, 2, 3, 4, 0.5, 2)]


@pytest.mark.parametrize("class_id", [-1, CLASSES, 1e9])
def test_a_class_that_the_model_does_not_have_is_left_out(class_id: float) -> None:
    assert len(found("end_to_end", one(1, 2, 3, 4, 0.9, class_id), np.zeros(CLASSES))) == 0


def test_a_count_beyond_the_boxes_reads_all_of_them() -> None:
    outputs = efficient_nms_output(np.random.default_rng(0))
    outputs[0][0] = 1000
    assert len(found("efficient_nms", outputs, np.zeros(CLASSES))) == 50


def test_the_grid_has_the_finest_cells_first_row_by_row() -> None:
    places, strides = grid((64, 96), NUMBER)
    assert places[:3].tolist() == [[0, 0], [1, 0], [2, 0]]
    assert places[12].tolist() == [0, 1]
    assert strides[[0, 95, 96, 119, 120, 125]].tolist() == [8, 8, 16, 16, 32, 32]
    assert len(grid((128, 128), cells((128, 128), (8, 16, 32, 64)))[0]) == 256 + 64 + 16 + 4


def test_centre_and_size_become_corners() -> None:
    boxes = np.array([[100, 50, 20, 10], [0, 0, 1, 3]], np.float32)
    np.testing.assert_array_equal(cxcywh_to_xyxy(boxes), [[90, 45, 110, 55], [-0.5, -1.5, 0.5, 1.5]])


@BOTH_WAYS
@EVERY_HEAD
def test_the_best_of_those_that_do_not_count_are_returned_as_well_when_asked(
    head: HeadName, *, multi_label: bool
) -> None:
    for seed in range(5):
        outputs = OUTPUTS[head](np.random.default_rng(seed))
        thresholds = np.array([0.9, 0.8, np.inf], np.float32)
        counting = rows_of(found(head, outputs, thresholds, multi_label=multi_label))
        for most in (1, 7, 10_000):
            boxes = HEADS[head].decode(outputs, thresholds, INPUT_HW, multi_label=multi_label, doubtful=most).boxes
            counts = boxes.confidence >= thresholds[boxes.class_id]
            assert rows_of(boxes.take(np.flatnonzero(counts))) == counting
            doubtful = np.sort(boxes.confidence[~counts])[::-1]
            assert (doubtful >= FLOOR).all()
            best = sorted(
                (
                    max(scores)
                    for _, scores in scored(head, outputs)
                    if max(scores) >= FLOOR and not counts_for_any(scores, thresholds, multi_label=multi_label)
                ),
                reverse=True,
            )
            assert len(doubtful) >= 1
            if head in {"yolov5", "yolox"} and most < len(best):
                continue  # the most likely by objectness, which bounds the confidence, are looked at
            np.testing.assert_allclose(doubtful, best[:most], rtol=1e-4)


def counts_for_any(scores: list[float], thresholds: np.ndarray, *, multi_label: bool) -> bool:
    reached = [score >= threshold for score, threshold in zip(scores, thresholds, strict=True)]
    return any(reached) if multi_label else reached[scores.index(max(scores))]


@EVERY_HEAD
def test_the_second_best_class_of_a_box_is_known_where_the_model_tells_it(head: HeadName) -> None:
    outputs = OUTPUTS[head](np.random.default_rng(0))
    candidates = HEADS[head].decode(outputs, np.full(CLASSES, 0.3, np.float32), INPUT_HW, multi_label=False)
    index = np.arange(len(candidates.boxes))
    told = zip(candidates.boxes.confidence.tolist(), candidates.runners_up(index).tolist(), strict=True)
    wanted = (sorted(scores)[:-3:-1] for _, scores in scored(head, outputs) if max(scores) >= 0.3)
    np.testing.assert_allclose(sorted(told), sorted(wanted), rtol=1e-4, atol=1e-4)
