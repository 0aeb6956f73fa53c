"""What the models of `shared/data` find, by the shortest way from their file to boxes: plain loops, nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import yaml

from support.precision import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnxruntime

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MODELS = DATA / "models"

CONFIDENCE = 0.001
MOST = 100

YOLOX_STRIDES = (8, 16, 32)


class Reference(NamedTuple):
    """How a model of `shared/data` is meant to be used, by its README.

    Attributes:
        file: The model file.
        iou: Threshold of the class-wise suppression.
        map_: Mean average precision on `voc100`, IoU 0.5 to 0.95.
        manifest: What the server has to be told.
        preprocess: BGR picture to tensor, and the ratios by which it was resized.
        decode: Raw output to rows of centre, size, objectness and classes.
    """

    file: str
    iou: float
    map_: float
    manifest: Mapping[str, object]
    preprocess: Callable[[np.ndarray, int], tuple[np.ndarray, tuple[float, float]]]
    decode: Callable[[np.ndarray, int], np.ndarray]

    def detect(self, session: onnxruntime.InferenceSession, picture: Path, class_names: Sequence[str]) -> list[Found]:
        """Several classes per box, most confident first."""
        (tensor_input,) = session.get_inputs()
        side = tensor_input.shape[2]
        image = cv2.imread(str(picture))
        height, width = image.shape[:2]
        tensor, (ratio_x, ratio_y) = self.preprocess(image, side)
        dtype = np.float16 if "float16" in tensor_input.type else np.float32
        (output,) = session.run(None, {tensor_input.name: tensor[None].astype(dtype)})
        rows = self.decode(output[0].astype(np.float32), side)
        x, y, w, h = rows[:, :4].T
        corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
        corners /= [ratio_x, ratio_y, ratio_x, ratio_y]
        found = []
        for class_id, class_name in enumerate(class_names):
            scores = rows[:, 4] * rows[:, 5 + class_id]
            order = [index for index in np.argsort(-scores, kind="stable") if scores[index] > CONFIDENCE]
            for index in _suppressed(corners, order, self.iou):
                box = np.clip(corners[index], 0, [width, height, width, height])
                found.append(Found(class_name, float(scores[index]), tuple(box)))
        return sorted(found, key=lambda each: -each.confidence)[:MOST]


def _suppressed(corners: np.ndarray, order: list[int], iou: float) -> list[int]:
    kept: list[int] = []
    for index in order:
        if not kept or _overlap(corners[index], corners[kept]).max() <= iou:
            kept.append(index)
    return kept


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared)


def padded_bgr(image: np.ndarray, side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """As YOLOX takes it: BGR, 0 to 255, padded right and below."""
    ratio = min(side / image.shape[0], side / image.shape[1])
    height, width = round(image.shape[0] * ratio), round(image.shape[1] * ratio)
    padded = np.full((side, side, 3), 114, np.uint8)
    padded[:height, :width] = cv2.resize(image, (width, height))
    return padded.transpose(2, 0, 1).astype(np.float32), (width / image.shape[1], height / image.shape[0])


def stretched(image: np.ndarray, side: int) -> tuple[np.ndarray, tuple[float, float]]:
    """As FastestDet takes it: BGR, 0 to 1, resized whatever its shape."""
    resized = cv2.resize(image, (side, side))
    return resized.transpose(2, 0, 1).astype(np.float32) / 255, (side / image.shape[1], side / image.shape[0])


def as_it_is(output: np.ndarray, side: int) -> np.ndarray:  # noqa: ARG001
    return output


def from_cells(output: np.ndarray, side: int) -> np.ndarray:
    """YOLOX's boxes are relative to the cells of three grids."""
    rows = output.copy()
    start = 0
    for stride in YOLOX_STRIDES:
        for cell_y in range(side // stride):
            for cell_x in range(side // stride):
                rows[start, 0] = (rows[start, 0] + cell_x) * stride
                rows[start, 1] = (rows[start, 1] + cell_y) * stride
                start += 1
        first = start - (side // stride) ** 2
        rows[first:start, 2:4] = np.exp(rows[first:start, 2:4]) * stride
    return rows


YOLOX = {"head": "yolox"}
YOLOX_DECODED = {"head": "yolov5", "input": {"resize": "letterbox_topleft", "color_order": "BGR", "scale": 1}}
STRETCHED = {"input": {"resize": "stretch", "color_order": "BGR"}}

REFERENCES = {
    "yolox_nano": Reference("yolox_nano.onnx", 0.65, 0.538, YOLOX, padded_bgr, from_cells),
    "yolox_nano_fp16": Reference("yolox_nano_fp16.onnx", 0.65, 0.541, YOLOX, padded_bgr, from_cells),
    "yolox_nano_dynbatch": Reference("yolox_nano_dynbatch.onnx", 0.65, 0.538, YOLOX, padded_bgr, from_cells),
    "yolox_nano_v5layout": Reference("yolox_nano_v5layout.onnx", 0.65, 0.538, YOLOX_DECODED, padded_bgr, as_it_is),
    "fastestdet": Reference("fastestdet.onnx", 0.7, 0.303, STRETCHED, stretched, as_it_is),
}


def coco_class_names() -> list[str]:
    return (MODELS / "coco80.names").read_text(encoding="utf-8").split("\n")[:80]


def coco_repository(folder: Path, versions: Iterable[str]) -> Path:
    """A repository of the model `coco`, whose versions are models of `shared/data`."""
    for version in versions:
        reference = REFERENCES[version]
        path = folder / "coco" / version
        path.mkdir(parents=True)
        (path / "model.onnx").symlink_to(MODELS / reference.file)
        manifest = {"class_names": coco_class_names(), **reference.manifest}
        (path / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return folder
