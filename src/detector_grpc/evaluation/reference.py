"""pycocotools, the reference implementation of COCO's metrics, behind values of our own."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from detector_grpc.coco import Annotations
    from detector_grpc.vision.detections import Detections

NOT_INSTALLED = "pycocotools is not installed: `pip install 'detector-grpc[evaluate]'`"

# Places of the whole range of areas and of the largest number of boxes in the arrays of pycocotools.
_ALL_AREAS, _MOST_BOXES = 0, -1


@dataclass(frozen=True)
class ClassMatches:
    """The D detections of one class in P pictures, most confident first, and which of them are true.

    Attributes:
        confidence: float32 (D,), range [0, 1].
        picture: intp (D,), which of the pictures each lies in.
        is_true: bool (10, D), whether it has a marked object for itself at IoU .5, .55, …, .95.
        is_ignored: bool (10, D), whether it lies on a crowd, and counts as neither true nor false.
        boxes: intp (P,), how many objects there are to find in each picture.
    """

    confidence: NDArray[np.float32]
    picture: NDArray[np.intp]
    is_true: NDArray[np.bool_]
    is_ignored: NDArray[np.bool_]
    boxes: NDArray[np.intp]


@dataclass(frozen=True)
class Evaluation:
    """What pycocotools says of C classes; -1 where there is nothing to find.

    Attributes:
        stats: float64 (12,), the numbers of COCO's own summary, in its order.
        precision: float64 (10, 101, C), at IoU .5, .55, …, .95 and recall 0, .01, …, 1.
        recall: float64 (10, C), at IoU .5, .55, …, .95.
        matches: By class.
    """

    stats: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    matches: tuple[ClassMatches, ...]


def import_pycocotools() -> tuple[Any, Any]:
    """The classes COCO and COCOeval.

    Raises:
        SetupInvalid: pycocotools is not installed; it comes with an extra.
    """
    try:
        from pycocotools.coco import COCO  # noqa: PLC0415 - installed by extra
        from pycocotools.cocoeval import COCOeval  # noqa: PLC0415 - as above
    except ImportError as error:
        raise SetupInvalid([NOT_INSTALLED]) from error
    return COCO, COCOeval


def evaluate(annotations: Annotations, found: Mapping[int, Detections]) -> Evaluation:
    """Compares what was found with what is there.

    Args:
        annotations: What is there.
        found: Detections by the picture's id; their class_id is the place in `annotations.categories`.
    """
    coco = _coco_eval(annotations, found)
    with _silence():
        coco.evaluate()
        coco.accumulate()
        coco.summarize()
    return Evaluation(
        coco.stats,
        coco.eval["precision"][:, :, :, _ALL_AREAS, _MOST_BOXES],
        coco.eval["recall"][:, :, _ALL_AREAS, _MOST_BOXES],
        tuple(_class_matches(coco, index) for index in range(len(annotations.categories))),
    )


def confusion(annotations: Annotations, found: Mapping[int, Detections]) -> NDArray[np.intp]:
    """Counts which class was taken for which, at IoU .5.

    Args:
        annotations: What is there.
        found: As for `evaluate`; only what counts as found at the operating point.

    Returns:
        intp (C + 1, C + 1): rows what is there, columns what was found; the last row has detections where nothing is,
        the last column objects that were not found.
    """
    coco = _coco_eval(annotations, found)
    coco.params.useCats, coco.params.iouThrs, coco.params.areaRng = 0, coco.params.iouThrs[:1], [coco.params.areaRng[0]]
    with _silence():
        coco.evaluate()
    nothing = len(annotations.categories)
    counts = np.zeros((nothing + 1, nothing + 1), np.intp)
    for each in filter(None, coco.evalImgs):
        for detection, match, ignored in zip(each["dtIds"], each["dtMatches"][0], each["dtIgnore"][0], strict=True):
            if not ignored:
                there = coco.cocoGt.anns[int(match)]["category_id"] - 1 if match else nothing
                counts[there, coco.cocoDt.anns[detection]["category_id"] - 1] += 1
        for box, match, ignored in zip(each["gtIds"], each["gtMatches"][0], each["gtIgnore"], strict=True):
            if not match and not ignored:
                counts[coco.cocoGt.anns[box]["category_id"] - 1, nothing] += 1
    return counts


def _coco_eval(annotations: Annotations, found: Mapping[int, Detections]) -> Any:  # noqa: ANN401 - has no types
    """A COCOeval of both. Ids are numbered anew from 1: pycocotools takes an id of 0 for no match."""
    _, coco_eval = import_pycocotools()
    pictures = {key: number for number, key in enumerate(annotations.pictures, 1)}
    categories = {name: number for number, name in enumerate(annotations.categories, 1)}
    there = [
        {
            "image_id": pictures[box.picture_id],
            "category_id": categories[box.category],
            "bbox": list(box.xywh),
            "area": box.area,
            "iscrowd": int(box.is_crowd),
        }
        for box in annotations.boxes
    ]
    seen = [
        {
            "image_id": pictures[key],
            "category_id": class_id + 1,
            "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
            "area": (x_max - x_min) * (y_max - y_min),
            "iscrowd": 0,
            "score": confidence,
        }
        for key, detections in found.items()
        for (x_min, y_min, x_max, y_max), confidence, class_id in zip(
            detections.xyxy.tolist(), detections.confidence.tolist(), detections.class_id.tolist(), strict=True
        )
    ]
    with _silence():
        return coco_eval(
            _coco(pictures.values(), categories.values(), there),
            _coco(pictures.values(), categories.values(), seen),
            "bbox",
        )


def _coco(pictures: Iterable[int], categories: Iterable[int], boxes: Iterable[dict[str, Any]]) -> Any:  # noqa: ANN401
    coco, _ = import_pycocotools()
    made = coco()
    made.dataset = {
        "images": [{"id": number} for number in pictures],
        "categories": [{"id": number} for number in categories],
        "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 1)],
    }
    made.createIndex()
    return made


def _class_matches(coco: Any, index: int) -> ClassMatches:  # noqa: ANN401
    pictures, first = len(coco.params.imgIds), index * len(coco.params.areaRng)
    every = coco.evalImgs[(first + _ALL_AREAS) * pictures :][:pictures]
    boxes = np.array([0 if each is None else np.count_nonzero(each["gtIgnore"] == 0) for each in every], np.intp)
    known = [(picture, each) for picture, each in enumerate(every) if each is not None and each["dtIds"]]
    iou_count = len(coco.params.iouThrs)
    nothing = np.zeros((iou_count, 0), np.bool_)
    confidence = np.concatenate([np.empty(0, np.float32), *(np.float32(each["dtScores"]) for _, each in known)])
    ignored = np.concatenate([nothing, *(each["dtIgnore"] for _, each in known)], axis=1)
    matched = np.concatenate([nothing, *(each["dtMatches"] > 0 for _, each in known)], axis=1)
    picture = np.concatenate([np.empty(0, np.intp), *(np.full(len(each["dtIds"]), place) for place, each in known)])
    order = np.argsort(-confidence, kind="stable")
    return ClassMatches(confidence[order], picture[order], (matched & ~ignored)[:, order], ignored[:, order], boxes)


def _silence() -> contextlib.AbstractContextManager[Any]:
    """Keeps what pycocotools prints from the command's own output."""
    return contextlib.redirect_stdout(io.StringIO())
