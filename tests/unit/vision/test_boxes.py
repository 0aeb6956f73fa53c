"""Overlaps, against the definition written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.vision.boxes import iou_matrix

places = st.integers(0, 12)
box_lists = st.lists(st.tuples(places, places, places, places), max_size=6).map(
    lambda rows: np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rows], np.float32).reshape(
        -1, 4
    )
)


def cells(box: np.ndarray) -> set[tuple[int, int]]:
    left, top, right, bottom = map(int, box)
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


@given(box_lists, box_lists)
def test_the_overlap_is_that_of_the_pixels_that_both_cover(a: np.ndarray, b: np.ndarray) -> None:
    overlaps = iou_matrix(a, b)
    assert overlaps.shape == (len(a), len(b))
    assert overlaps.dtype == np.float32
    for row, one in enumerate(a):
        for column, other in enumerate(b):
            both, either = cells(one) & cells(other), cells(one) | cells(other)
            np.testing.assert_allclose(overlaps[row, column], len(both) / len(either) if either else 0, rtol=1e-6)
