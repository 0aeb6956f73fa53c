"""Whether two models see the same in a picture: their boxes, matched one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.vision.boxes import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_IOU = 0.5


class Labelled(NamedTuple):
    """N boxes and what they are.

    Attributes:
        xyxy: float32 (N, 4).
        names: Class name of each.
    """

    xyxy: NDArray[np.float32]
    names: Sequence[str]


class Agreement(NamedTuple):
    """How many boxes of a picture were matched, and how.

    Attributes:
        agree: Boxes in both, of one class.
        class_differs: Boxes in both, of different classes.
        missed: Boxes only in the first.
        extra: Boxes only in the second.
    """

    agree: int
    class_differs: int
    missed: int
    extra: int


def compare(first: Labelled, second: Labelled) -> Agreement:
    """Matches boxes whose intersection over union is at least 0.5.

    Each box is matched at most once, pairs of one class before all others, among these the greatest overlap first; the
    greedy assignment of the PASCAL VOC evaluation (Everingham et al. 2010), with overlap in the place of confidence.

    Args:
        first: Boxes of one model.
        second: Boxes of the other, in the same frame of reference.
    """
    overlap = iou_matrix(first.xyxy, second.xyxy)
    same = np.asarray(first.names, object)[:, None] == np.asarray(second.names, object)[None, :]
    rows, columns = np.nonzero(overlap >= MIN_IOU)
    order = np.lexsort((-overlap[rows, columns], ~same[rows, columns]))
    left, right = set(range(len(first.names))), set(range(len(second.names)))
    agree = class_differs = 0
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in left and column in right:
            left.remove(row)
            right.remove(column)
            if same[row, column]:
                agree += 1
            else:
                class_differs += 1
    return Agreement(agree, class_differs, missed=len(left), extra=len(right))
