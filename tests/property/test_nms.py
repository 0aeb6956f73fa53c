# ruff: noqa: FBT001 - hypothesis hands values over by position
"""What holds for every set of candidates."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from detector_grpc.vision.detections import Detections
from detector_grpc.vision.nms import suppress

MANY = 10_000
EPSILON = 1e-4

corners = st.floats(-100, 700, width=32)
sides = st.floats(1, 300, width=32)
confidences = st.integers(1, 10_000).map(lambda n: n / 10_000)
rows = st.tuples(corners, corners, sides, sides, confidences, st.integers(0, 3))
thresholds = st.floats(0, 1, width=32)


def build(candidates: list[tuple[float, ...]]) -> Detections:
    table = np.array(candidates, np.float64).reshape(-1, 6)
    xyxy = np.hstack([table[:, :2], table[:, :2] + table[:, 2:4]]).astype(np.float32)
    return Detections(xyxy, table[:, 4].astype(np.float32), table[:, 5].astype(np.int32))


several = st.lists(rows, max_size=40).map(build)
# Equal confidences are told apart by their place, which no permutation keeps.
distinct = st.lists(rows, max_size=30, unique_by=lambda row: row[4]).map(build)


def as_rows(found: Detections) -> list[tuple[float, ...]]:
    return list(zip(*found.xyxy.T.tolist(), found.confidence.tolist(), found.class_id.tolist(), strict=True))


def iou(boxes: np.ndarray) -> np.ndarray:
    boxes = boxes.astype(np.float64)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return both / (area[:, None] + area[None, :] - both)


def same_class(found: Detections, *, class_agnostic: bool) -> np.ndarray:
    return (found.class_id[:, None] == found.class_id[None, :]) | class_agnostic


@given(several, thresholds, st.booleans(), st.integers(1, 50))
def test_what_stays_was_there_once_and_comes_most_confident_first(
    candidates: Detections, threshold: float, class_agnostic: bool, most: int
) -> None:
    kept = suppress(candidates, threshold, class_agnostic=class_agnostic, max_detections=most)
    assert len(kept) <= most
    given_rows = as_rows(candidates)
    for row in as_rows(kept):
        given_rows.remove(row)  # raises where it is not, or no longer, there
    assert (np.diff(kept.confidence) <= 0).all()


@given(several, thresholds, st.booleans())
def test_what_stays_does_not_overlap_more_than_allowed(
    candidates: Detections, threshold: float, class_agnostic: bool
) -> None:
    kept = suppress(candidates, threshold, class_agnostic=class_agnostic, max_detections=MANY)
    overlaps = iou(kept.xyxy) * same_class(kept, class_agnostic=class_agnostic)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= threshold + EPSILON).all()


@given(several, thresholds, st.booleans())
def test_what_goes_overlaps_something_more_confident_that_stays(
    candidates: Detections, threshold: float, class_agnostic: bool
) -> None:
    kept = suppress(candidates, threshold, class_agnostic=class_agnostic, max_detections=MANY)
    remaining = as_rows(kept)
    for box, confidence, class_id, row in zip(
        candidates.xyxy, candidates.confidence, candidates.class_id, as_rows(candidates), strict=True
    ):
        if row in remaining:
            continue
        rivals = kept.confidence >= confidence
        if not class_agnostic:
            rivals &= kept.class_id == class_id
        overlaps = iou(np.vstack([box[None], kept.xyxy[rivals]]))[0, 1:]
        assert overlaps.max() > threshold - EPSILON


@given(several, thresholds, st.booleans())
def test_suppressing_twice_changes_nothing(candidates: Detections, threshold: float, class_agnostic: bool) -> None:
    once = suppress(candidates, threshold, class_agnostic=class_agnostic, max_detections=MANY)
    # Boxes are moved before they are compared, by an amount that depends on all of them: overlaps that differ from the
    # threshold by rounding alone may be told differently.
    overlaps = iou(once.xyxy)
    assume(not (np.abs(overlaps - threshold) < EPSILON).any())
    twice = suppress(once, threshold, class_agnostic=class_agnostic, max_detections=MANY)
    assert as_rows(twice) == as_rows(once)


@given(distinct, thresholds, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    candidates: Detections, threshold: float, class_agnostic: bool, random: object
) -> None:
    order = list(range(len(candidates)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = candidates.take(np.array(order, np.intp))
    results = [
        as_rows(suppress(each, threshold, class_agnostic=class_agnostic, max_detections=MANY))
        for each in (candidates, shuffled)
    ]
    assert results[0] == results[1]


@given(several, thresholds, st.booleans())
def test_the_most_confident_of_each_class_always_stays(
    candidates: Detections, threshold: float, class_agnostic: bool
) -> None:
    kept = suppress(candidates, threshold, class_agnostic=class_agnostic, max_detections=MANY)
    if len(candidates):
        assert kept.confidence[0] == candidates.confidence.max()
    if not class_agnostic:
        for class_id in np.unique(candidates.class_id):
            best = candidates.confidence[candidates.class_id == class_id].max()
            assert kept.confidence[kept.class_id == class_id].max() == best
