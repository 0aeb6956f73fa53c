"""A real detector with every other output layout and kind of input, by surgery on its graph.

The bundled detector of codes answers [1, 9, 1344]: rows x_min, y_min, x_max, y_max in pixels of its 256 x 256 input,
then five probabilities. What is grafted on is written as ONNX text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import onnx
import onnx.compose
import onnx.parser
import yaml

from support.servers import BUNDLED_MODELS

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = BUNDLED_MODELS / "codes" / "v1" / "model.onnx"
CLASSES = 5
BOXES = 1344
SIDE = 256
CLASS_NAMES = tuple(json.loads({prop.key: prop.value for prop in onnx.load(SOURCE).metadata_props}["names"]).values())

# How the original is asked, and what the graphs that suppress by themselves do.
CONFIDENCE, IOU, MOST = 0.25, 0.5, 100

_SPLIT = """
    sizes = Constant <value_ints = [4, 5]> ()
    corners, scores = Split <axis = 1> (rows, sizes)
"""
_CENTERS = """
    two = Constant <value_float = 2.0> ()
    halves = Constant <value_ints = [2, 2]> ()
    near, far = Split <axis = 1> (corners, halves)
    sum = Add (near, far)
    center = Div (sum, two)
    size = Sub (far, near)
    centers = Concat <axis = 1> (center, size)
"""
_OBJECTNESS = """
    axis = Constant <value_ints = [1]> ()
    best = ReduceMax <axes = [1], keepdims = 1> (scores)
    objectness = Sqrt (best)
    probabilities = Div (scores, objectness)
"""
# Rows of [1, 9, 1344] that stay, and what is known of them: `kept` [1, K, 4], `confidence` and `class` [1, K, 1].
_SUPPRESSED = f"""
    boxes = Transpose <perm = [0, 2, 1]> (corners)
    most = Constant <value_ints = [{MOST}]> ()
    iou = Constant <value_floats = [{IOU}]> ()
    least = Constant <value_floats = [{CONFIDENCE}]> ()
    picked = NonMaxSuppression (boxes, scores, most, iou, least)
    one = Constant <value_int = 1> ()
    two_ = Constant <value_int = 2> ()
    class_index = Gather <axis = 1> (picked, one)
    box_index = Gather <axis = 1> (picked, two_)
    kept = Gather <axis = 1> (boxes, box_index)
    column = Constant <value_ints = [1, -1, 1]> ()
    flat_confidence = GatherND (scores, picked)
    confidence = Reshape (flat_confidence, column)
    class_float = Cast <to = 1> (class_index)
    class = Reshape (class_float, column)
"""
# The same with as many rows as there is room for, those behind the last object zero.
_PADDED = f"""
    objects = Concat <axis = 2> (kept, confidence, class)
    zero = Constant <value_float = 0.0> ()
    room = Constant <value_ints = [1, {MOST}, 6]> ()
    nothing = Expand (zero, room)
    with_room = Concat <axis = 1> (objects, nothing)
    from = Constant <value_ints = [0]> ()
    to = Constant <value_ints = [{MOST}]> ()
    along = Constant <value_ints = [1]> ()
    padded = Slice (with_room, from, to, along)
    column_sizes = Constant <value_ints = [4, 1, 1]> ()
    padded_boxes, padded_confidence, padded_class = Split <axis = 2> (padded, column_sizes)
    squeezed = Constant <value_ints = [2]> ()
"""
# Logits that become the confidences again, and nothing for every other class.
_LOGITS = f"""
    class_ids = Cast <to = 7> (padded_class)
    flat_ids = Squeeze (class_ids, squeezed)
    depth = Constant <value_int = {CLASSES}> ()
    off_on = Constant <value_floats = [0.0, 1.0]> ()
    one_hot = OneHot <axis = -1> (flat_ids, depth, off_on)
    spread = Mul (one_hot, padded_confidence)
    tiny = Constant <value_float = 0.000001> ()
    unit = Constant <value_float = 1.0> ()
"""
_FRACTIONS = f"""
    rows_of_boxes = Transpose <perm = [0, 2, 1]> (padded_boxes)
    quarters = Constant <value_ints = [2, 2]> ()
    q_near, q_far = Split <axis = 1> (rows_of_boxes, quarters)
    q_two = Constant <value_float = 2.0> ()
    q_sum = Add (q_near, q_far)
    q_center = Div (q_sum, q_two)
    q_size = Sub (q_far, q_near)
    q_centers = Concat <axis = 1> (q_center, q_size)
    side = Constant <value_float = {SIDE}.0> ()
    q_fractions = Div (q_centers, side)
    fractions = Transpose <perm = [0, 2, 1]> (q_fractions)
"""


class Graft(NamedTuple):
    """One variant.

    Attributes:
        name: What exports it stands for.
        body: ONNX text from the original output, `rows`, to the new ones.
        outputs: The new outputs with their types.
        manifest: What has to be told of it.
        head: The head that must be concluded.
    """

    name: str
    body: str
    outputs: str
    manifest: dict[str, object]
    head: str

    def write(self, folder: Path) -> None:
        """Writes the version: `model.onnx` and `manifest.yaml`."""
        original = onnx.load(SOURCE)
        graft = onnx.parser.parse_model(
            f'<ir_version: {original.ir_version}, opset_import: ["": {original.opset_import[0].version}]>'
            f"graft (float[1, 9, {BOXES}] rows) => ({self.outputs}) {{{self.body}}}"
        )
        joined = onnx.compose.merge_models(original, graft, io_map=[("output", "rows")])
        onnx.helper.set_model_props(joined, {})
        write_version(folder, joined, {"class_names": list(CLASS_NAMES), **self.manifest})


def write_version(folder: Path, model: onnx.ModelProto, manifest: dict[str, object]) -> None:
    """Writes `model.onnx` and `manifest.yaml`."""
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")


def _encoded_for_yolox() -> str:
    """Centres in cells and logarithms of sizes in strides, as YOLOX answers them."""
    strides = [stride for stride in (8, 16, 32) for _ in range((SIDE // stride) ** 2)]
    cells = [
        (column, row) for stride in (8, 16, 32) for row in range(SIDE // stride) for column in range(SIDE // stride)
    ]
    columns, rows = zip(*cells, strict=True)
    return f"""
    stride_list = Constant <value_floats = [{", ".join(f"{each}.0" for each in strides)}]> ()
    cell_list = Constant <value_floats = [{", ".join(f"{each}.0" for each in (*columns, *rows))}]> ()
    stride_shape = Constant <value_ints = [1, 1, {BOXES}]> ()
    cell_shape = Constant <value_ints = [1, 2, {BOXES}]> ()
    stride = Reshape (stride_list, stride_shape)
    cell = Reshape (cell_list, cell_shape)
    in_cells = Div (center, stride)
    offset = Sub (in_cells, cell)
    in_strides = Div (size, stride)
    log_size = Log (in_strides)
    encoded = Concat <axis = 1> (offset, log_size)
    """


GRAFTS = (
    Graft(
        "centre and size, as YOLOv8, YOLOv9 and YOLO11",
        _SPLIT + _CENTERS + "out = Concat <axis = 1> (centers, scores)",
        f"float[1, 9, {BOXES}] out",
        {},
        "cxcywh",
    ),
    Graft(
        "the same, transposed",
        _SPLIT + _CENTERS + "joined = Concat <axis = 1> (centers, scores) out = Transpose <perm = [0, 2, 1]> (joined)",
        f"float[1, {BOXES}, 9] out",
        {},
        "cxcywh",
    ),
    Graft(
        "corners, transposed",
        "out = Transpose <perm = [0, 2, 1]> (rows)",
        f"float[1, {BOXES}, 9] out",
        {"head": "xyxy"},
        "xyxy",
    ),
    Graft(
        "masks beside the boxes, as YOLOv8-seg",
        _SPLIT
        + _CENTERS
        + f"""
        unit = Constant <value_float = 1.0> ()
        coefficient_shape = Constant <value_ints = [1, 32, {BOXES}]> ()
        coefficients = Expand (unit, coefficient_shape)
        out = Concat <axis = 1> (centers, scores, coefficients)
        prototype_shape = Constant <value_ints = [1, 32, 64, 64]> ()
        protos = Expand (unit, prototype_shape)
        """,
        f"float[1, 41, {BOXES}] out, float[1, 32, 64, 64] protos",
        {},
        "cxcywh",
    ),
    Graft(
        "objectness, as YOLOv5 and YOLOv7",
        _SPLIT
        + _CENTERS
        + _OBJECTNESS
        + """
        joined = Concat <axis = 1> (centers, objectness, probabilities)
        out = Transpose <perm = [0, 2, 1]> (joined)
        """,
        f"float[1, {BOXES}, 10] out",
        {"head": "yolov5"},
        "yolov5",
    ),
    Graft(
        "cells and strides, as YOLOX",
        _SPLIT
        + _CENTERS
        + _OBJECTNESS
        + _encoded_for_yolox()
        + """
        joined = Concat <axis = 1> (encoded, objectness, probabilities)
        out = Transpose <perm = [0, 2, 1]> (joined)
        """,
        f"float[1, {BOXES}, 10] out",
        {"head": "yolox", "input": {"resize": "letterbox", "color_order": "RGB", "scale": 1 / 255}},
        "yolox",
    ),
    Graft(
        "each object once, as YOLOv10 and libreyolo with nms=True",
        _SPLIT + _SUPPRESSED + _PADDED + "out = Identity (padded) raw = Identity (rows)",
        f"float[1, {MOST}, 6] out, float[1, 9, {BOXES}] raw",
        {},
        "end_to_end",
    ),
    Graft(
        "each object once, as many rows as objects",
        _SPLIT + _SUPPRESSED + "out = Concat <axis = 2> (kept, confidence, class)",
        "float[1, objects, 6] out",
        {},
        "end_to_end",
    ),
    Graft(
        "number, boxes, scores and classes, as EfficientNMS",
        _SPLIT
        + _SUPPRESSED
        + _PADDED
        + """
        detection_boxes = Identity (padded_boxes)
        detection_scores = Squeeze (padded_confidence, squeezed)
        float_classes = Squeeze (padded_class, squeezed)
        detection_classes = Cast <to = 6> (float_classes)
        shape = Shape (objects)
        dimension = Constant <value_ints = [1]> ()
        count = Gather <axis = 0> (shape, dimension)
        count_shape = Constant <value_ints = [1, 1]> ()
        count_long = Reshape (count, count_shape)
        num_detections = Cast <to = 6> (count_long)
        """,
        f"int32[1, 1] num_detections, float[1, {MOST}, 4] detection_boxes, float[1, {MOST}] detection_scores, "
        f"int32[1, {MOST}] detection_classes",
        {},
        "efficient_nms",
    ),
    Graft(
        "labels, boxes and scores, as RT-DETR",
        _SPLIT
        + _SUPPRESSED
        + _PADDED
        + """
        scores_ = Squeeze (padded_confidence, squeezed)
        float_labels = Squeeze (padded_class, squeezed)
        labels = Cast <to = 7> (float_labels)
        kept_boxes = Identity (padded_boxes)
        """,
        f"int64[1, {MOST}] labels, float[1, {MOST}, 4] kept_boxes, float[1, {MOST}] scores_",
        {"input": {"resize": "letterbox"}},
        "labels_boxes_scores",
    ),
    Graft(
        "boxes and logits, as RT-DETR of Transformers",
        _SPLIT
        + _SUPPRESSED
        + _PADDED
        + _LOGITS
        + _FRACTIONS
        + """
        clear = Max (spread, tiny)
        rest = Sub (unit, clear)
        odds = Div (clear, rest)
        logits = Log (odds)
        pred_boxes = Identity (fractions)
        """,
        f"float[1, {MOST}, 5] logits, float[1, {MOST}, 4] pred_boxes",
        {"head": "detr", "input": {"resize": "letterbox"}},
        "detr",
    ),
    Graft(
        "boxes and logits with one for no object, as DETR",
        _SPLIT
        + _SUPPRESSED
        + _PADDED
        + _LOGITS
        + _FRACTIONS
        + """
        rest = Sub (unit, padded_confidence)
        every = Concat <axis = 2> (spread, rest)
        clear = Max (every, tiny)
        logits = Log (clear)
        pred_boxes = Identity (fractions)
        """,
        f"float[1, {MOST}, 6] logits, float[1, {MOST}, 4] pred_boxes",
        {"head": "detr_softmax", "input": {"resize": "letterbox", "mean": [0, 0, 0], "std": [1, 1, 1]}},
        "detr_softmax",
    ),
)


class Inlet(NamedTuple):
    """The original behind another kind of input.

    Attributes:
        name: What it takes.
        inputs: The new input with its type.
        body: ONNX text from `picture` to `pixels`, what the original takes.
        manifest: What has to be told of it.
        cut: Rows of padding above and below that the graph adds to pictures of 192 rows.
    """

    name: str
    inputs: str
    body: str
    manifest: dict[str, object]
    cut: int = 0

    def write(self, folder: Path) -> None:
        """Writes the version: `model.onnx` and `manifest.yaml`."""
        original = onnx.load(SOURCE)
        head = f'<ir_version: {original.ir_version}, opset_import: ["": {original.opset_import[0].version}]>'
        inlet = onnx.parser.parse_model(
            f"{head} inlet ({self.inputs} picture) => (float[1, 3, {SIDE}, {SIDE}] pixels) {{{self.body}}}"
        )
        outlet = onnx.parser.parse_model(
            f"{head} outlet (float[1, 9, {BOXES}] rows) => (float[1, 9, {BOXES}] out) {{{_SPLIT}"
            f"shift = Constant <value_floats = [0.0, {self.cut}.0, 0.0, {self.cut}.0]> ()"
            "shift_shape = Constant <value_ints = [1, 4, 1]> () shift_rows = Reshape (shift, shift_shape)"
            "shifted = Sub (corners, shift_rows) out = Concat <axis = 1> (shifted, scores)}"
        )
        behind = onnx.compose.merge_models(inlet, original, io_map=[("pixels", "images")])
        joined = onnx.compose.merge_models(behind, outlet, io_map=[("output", "rows")])
        onnx.helper.set_model_props(joined, {})
        write_version(folder, joined, {"class_names": list(CLASS_NAMES), "head": "xyxy", **self.manifest})


_TO_FRACTIONS = "most = Constant <value_float = 255.0> () fractions = Div (samples, most)"
_PADDED_ROWS = """
    pads = Constant <value_ints = [0, 0, 32, 0, 0, 0, 32, 0]> ()
    grey = Constant <value_float = 0.4470588> ()
    pixels = Pad <mode = "constant"> (picture, pads, grey)
"""

INLETS = (
    Inlet(
        "float16",
        f"float16[1, 3, {SIDE}, {SIDE}]",
        "pixels = Cast <to = 1> (picture)",
        {},
    ),
    Inlet(
        "uint8, channels last",
        f"uint8[batch, {SIDE}, {SIDE}, 3]",
        f"samples = Cast <to = 1> (picture) {_TO_FRACTIONS} pixels = Transpose <perm = [0, 3, 1, 2]> (fractions)",
        {},
    ),
    Inlet(
        "BGR in [0, 255]",
        f"float[1, 3, {SIDE}, {SIDE}]",
        "reversed = Constant <value_ints = [2, 1, 0]> () samples = Gather <axis = 1> (picture, reversed)"
        f"{_TO_FRACTIONS} pixels = Identity (fractions)",
        {"input": {"color_order": "BGR", "scale": 1}},
    ),
    Inlet(
        "mean and deviation of ImageNet",
        f"float[1, 3, {SIDE}, {SIDE}]",
        "by_channel = Constant <value_ints = [1, 3, 1, 1]> ()"
        "flat_std = Constant <value_floats = [0.229, 0.224, 0.225]> () std = Reshape (flat_std, by_channel)"
        "flat_mean = Constant <value_floats = [0.485, 0.456, 0.406]> () mean = Reshape (flat_mean, by_channel)"
        "spread = Mul (picture, std) pixels = Add (spread, mean)",
        {"input": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
    ),
    Inlet("wider than high", f"float[1, 3, 192, {SIDE}]", _PADDED_ROWS, {}, cut=32),
    Inlet("size left open", "float[batch, 3, height, width]", _PADDED_ROWS, {"input": {"size": [192, SIDE]}}, cut=32),
)
