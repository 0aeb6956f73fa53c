"""What holds for whatever two models find."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.vision.agreement import Agreement, Labelled, compare

CORNERS = st.integers(0, 20)


def box(x: int, y: int, w: int, h: int) -> tuple[int, int, int, int]:
    return x, y, x + w + 1, y + h + 1


BOXES = st.lists(st.tuples(st.builds(box, CORNERS, CORNERS, CORNERS, CORNERS), st.sampled_from("ab")), max_size=8)


def labelled(boxes: list[tuple[tuple[int, int, int, int], str]]) -> Labelled:
    return Labelled(np.array([xyxy for xyxy, _ in boxes], np.float32).reshape(-1, 4), [name for _, name in boxes])


@given(BOXES, BOXES)
def test_every_box_counts_once(first: list, second: list) -> None:
    found = compare(labelled(first), labelled(second))
    assert found.agree + found.class_differs + found.missed == len(first)
    assert found.agree + found.class_differs + found.extra == len(second)
    assert min(found) >= 0


@given(BOXES, BOXES)
def test_the_other_way_round_misses_are_extras(first: list, second: list) -> None:
    one, other = compare(labelled(first), labelled(second)), compare(labelled(second), labelled(first))
    assert one.agree + one.class_differs == other.agree + other.class_differs
    assert (one.missed, one.extra) == (other.extra, other.missed)


@given(BOXES, st.randoms())
def test_a_model_agrees_with_itself_in_any_order(boxes: list, random: object) -> None:
    shuffled = list(boxes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert compare(labelled(boxes), labelled(shuffled)) == Agreement(len(boxes), 0, 0, 0)


def test_a_box_of_the_same_class_is_preferred_to_one_that_fits_better() -> None:
    seen = labelled([((0, 0, 10, 10), "a")])
    found = labelled([((0, 0, 10, 10), "b"), ((0, 0, 10, 8), "a")])
    assert compare(seen, found) == Agreement(1, 0, 0, 1)


def test_boxes_that_overlap_by_less_than_half_are_two() -> None:
    assert compare(labelled([((0, 0, 10, 10), "a")]), labelled([((0, 0, 10, 4), "a")])) == Agreement(0, 0, 1, 1)
    assert compare(labelled([((0, 0, 10, 10), "a")]), labelled([((0, 0, 10, 5), "b")])) == Agreement(0, 1, 0, 0)
