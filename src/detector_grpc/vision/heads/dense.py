"""Heads with a box for every place of a grid; most of them are background, and an object has several.

Each takes one array, rows first: float32 (rows, N). The rows behind the classes, such as the mask coefficients of
segmentation exports, are not read. The arrays are large, so they are filtered before anything is computed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.vision.boxes import cxcywh_to_xyxy
from detector_grpc.vision.heads.head import candidates, choose, possible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector_grpc.vision.heads.head import Candidates, Choice

BOX_ROWS = 4

# Distance of the cells of each grid, in model px: the usual three levels, and four in models for large inputs.
STRIDES = ((8, 16, 32), (8, 16, 32, 64))


def cxcywh(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """Anchor-free layout of the usual YOLOv8, YOLOv9 and YOLO11 exports.

    Rows: centre x, centre y, width, height in model px, then one probability in [0, 1] per class. Else as `Decode`.
    """
    (output,) = outputs
    choice = choose(_scores(output, BOX_ROWS, thresholds), thresholds, multi_label=multi_label, doubtful=doubtful)
    return candidates(cxcywh_to_xyxy(output[:BOX_ROWS, choice.place].T), choice)


def xyxy(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """As `cxcywh`, with rows x_min, y_min, x_max, y_max: the layout of libreyolo's YOLOv9 exports."""
    (output,) = outputs
    choice = choose(_scores(output, BOX_ROWS, thresholds), thresholds, multi_label=multi_label, doubtful=doubtful)
    return candidates(np.ascontiguousarray(output[:BOX_ROWS, choice.place].T), choice)


def yolov5(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """Layout of YOLOv5 and YOLOv7 exports, and of YOLOX exports that decode in the graph.

    Rows: centre x, centre y, width, height in model px, objectness, then one probability per class given that there is
    an object; confidence is the product of the two. Else as `Decode`.
    """
    (output,) = outputs
    choice = _with_objectness(output, thresholds, multi_label=multi_label, doubtful=doubtful)
    return candidates(cxcywh_to_xyxy(output[:BOX_ROWS, choice.place].T), choice)


def yolox(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """As `yolov5`, with boxes that are relative to the cells of the grid: the layout of the usual YOLOX exports.

    Source of the arithmetic: `demo_postprocess` of Megvii's YOLOX.
    """
    (output,) = outputs
    choice = _with_objectness(output, thresholds, multi_label=multi_label, doubtful=doubtful)
    cell_xy, strides = grid(input_hw, output.shape[1])
    stride = strides[choice.place, None]
    boxes = output[:BOX_ROWS, choice.place].T.copy()
    boxes[:, :2] = (boxes[:, :2] + cell_xy[choice.place]) * stride
    boxes[:, 2:] = np.exp(boxes[:, 2:]) * stride
    return candidates(cxcywh_to_xyxy(boxes), choice)


def cells(input_hw: tuple[int, int], strides: Sequence[int]) -> int:
    """Number of cells of the grids of all strides."""
    height, width = input_hw
    return sum((height // stride) * (width // stride) for stride in strides)


@lru_cache(maxsize=64)
def grid(input_hw: tuple[int, int], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row, float32 (count, 2), and stride, float32 (count,), of every cell, finest grid first."""
    height, width = input_hw
    strides = next(each for each in STRIDES if cells(input_hw, each) == count)
    places, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        sizes.append(np.full(rows.size, stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def _scores(output: NDArray[np.float32], first: int, thresholds: NDArray[np.float32]) -> NDArray[np.float32]:
    return output[first : first + len(thresholds)]


def _with_objectness(
    output: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool, doubtful: int
) -> Choice:
    objectness = output[BOX_ROWS]
    near = possible(objectness, thresholds, doubtful)  # no confidence is higher than its objectness
    scores = _scores(output, BOX_ROWS + 1, thresholds)[:, near] * objectness[near]
    choice = choose(scores, thresholds, multi_label=multi_label, doubtful=doubtful)
    return choice._replace(place=near[choice.place])
