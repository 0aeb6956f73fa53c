"""Non-maximum suppression as the last nodes of the graph, for clients that run the file without this server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector_grpc.errors import ModelInvalid
from detector_grpc.optimisation.tools import at_least_opset_13, import_onnx
from detector_grpc.vision.heads import HEADS
from detector_grpc.vision.heads.dense import grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.serving.spec import ModelSpec

# Boxes in an answer: as many as a server returns by default.
MOST_BOXES = 300

# Lowest confidence of a box. What a caller asks for is decided by who reads them.
LEAST_CONFIDENCE = 0.001

_OUTPUT = "detections"

# What is written below is ONNX text, from `rows` [1, R, N] to `box` [1, 4, N] and `scores` [1, C, N], …
_ROWS = "rows = Identity ({output})"
_ROWS_LAST = "rows = Transpose <perm = [0, 2, 1]> ({output})"
_PARTS = """
    along = Constant <value_ints = [1]> ()
    box_from = Constant <value_ints = [0]> ()
    box_to = Constant <value_ints = [4]> ()
    scores_from = Constant <value_ints = [{first}]> ()
    scores_to = Constant <value_ints = [{last}]> ()
    box = Slice (rows, box_from, box_to, along)
    given = Slice (rows, scores_from, scores_to, along)
"""
_PROBABILITIES = "scores = Identity (given)"
_OBJECTNESS = """
    objectness_to = Constant <value_ints = [5]> ()
    objectness = Slice (rows, box_to, objectness_to, along)
    scores = Mul (given, objectness)
"""
# … on to `corners` [1, 4, N], …
_CORNERS = "corners = Identity (box)"
_IN_CELLS = """
    pairs = Constant <value_ints = [2, 2]> ()
    cell_center, log_size = Split <axis = 1> (box, pairs)
    cell_list = Constant <value_floats = [{cells}]> ()
    cell_shape = Constant <value_ints = [1, 2, -1]> ()
    cell = Reshape (cell_list, cell_shape)
    stride_list = Constant <value_floats = [{strides}]> ()
    stride_shape = Constant <value_ints = [1, 1, -1]> ()
    stride = Reshape (stride_list, stride_shape)
    in_cells = Add (cell_center, cell)
    center = Mul (in_cells, stride)
    in_strides = Exp (log_size)
    size = Mul (in_strides, stride)
"""
_IN_PIXELS = """
    pairs = Constant <value_ints = [2, 2]> ()
    center, size = Split <axis = 1> (box, pairs)
"""
_TO_CORNERS = """
    two = Constant <value_float = 2.0> ()
    half = Div (size, two)
    near = Sub (center, half)
    far = Add (center, half)
    corners = Concat <axis = 1> (near, far)
"""
# … to the confidences that compete, `ranked` [1, C or 1, N], and the class of each pick, …
_BY_CLASS = (
    "ranked = Identity (scores)",
    "one = Constant <value_int = 1> () class_id = Gather <axis = 1> (picked, one)",
)
_AGNOSTIC = (
    "ranked = ReduceMax <axes = [1], keepdims = 1> (scores) best = ArgMax <axis = 1, keepdims = 0> (scores)",
    "class_of = Squeeze (best, first) class_id = Gather <axis = 0> (class_of, place)",
)
# … to what stays, [1, MOST_BOXES, 6], most confident first; rows that are not needed are zero.
_PICK = f"""
    boxes = Transpose <perm = [0, 2, 1]> (corners)
    most = Constant <value_ints = [{MOST_BOXES}]> ()
    iou = Constant <value_floats = [{{iou}}]> ()
    least = Constant <value_floats = [{LEAST_CONFIDENCE}]> ()
    picked = NonMaxSuppression (boxes, ranked, most, iou, least)
    confidence = GatherND (ranked, picked)
    index = Constant <value_int = 2> ()
    place = Gather <axis = 1> (picked, index)
    first = Constant <value_ints = [0]> ()
"""
_STAY = f"""
    flat = Squeeze (boxes, first)
    kept = Gather <axis = 0> (flat, place)
    number = Cast <to = 1> (class_id)
    last = Constant <value_ints = [1]> ()
    confidences = Unsqueeze (confidence, last)
    numbers = Unsqueeze (number, last)
    found = Concat <axis = 1> (kept, confidences, numbers)
    zero = Constant <value_float = 0.0> ()
    room_shape = Constant <value_ints = [{MOST_BOXES}, 6]> ()
    room = Expand (zero, room_shape)
    no_confidence = Expand (zero, most)
    padded = Concat <axis = 0> (found, room)
    ranking = Concat <axis = 0> (confidence, no_confidence)
    highest, order = TopK (ranking, most)
    sorted = Gather <axis = 0> (padded, order)
    {_OUTPUT} = Unsqueeze (sorted, first)
"""


def suppress(model: Any, spec: ModelSpec) -> Any:  # noqa: ANN401 - onnx.ModelProto
    """A model that answers each object once, as YOLOv10 does: see vision.heads.final.end_to_end.

    Boxes of one class compete, or of all if the version says so, at the version's overlap; a box may have several
    classes only in the former case. The batch is one picture.

    Raises:
        ModelInvalid: Its outputs are final already.
    """
    onnx = import_onnx()
    layout = spec.layout
    if HEADS[layout.head].suppressed:
        raise ModelInvalid(f"there is nothing to suppress: boxes of the head {layout.head} are final")
    model = at_least_opset_13(model)
    for each in model.graph.input:
        each.type.tensor_type.shape.dim[0].dim_value = 1
    (output,) = (each for each in model.graph.output if each.name == layout.outputs[0])
    del model.graph.output[:]
    model.graph.output.append(output)
    graft = onnx.parser.parse_model(
        f'<ir_version: {model.ir_version}, opset_import: ["": {model.opset_import[0].version}]>'
        f"suppression (float[1, rows, boxes] {output.name}_) => (float[1, {MOST_BOXES}, 6] {_OUTPUT}) "
        f"{{{_text(spec, f'{output.name}_', _count(output, rows_last=layout.rows_last))}}}"
    )
    return onnx.compose.merge_models(
        model,
        onnx.compose.add_prefix(graft, "suppression.", rename_outputs=False),
        io_map=[(output.name, f"suppression.{output.name}_")],
    )


def _text(spec: ModelSpec, output: str, count: int | None) -> str:
    head, classes = spec.layout.head, len(spec.class_names)
    has_objectness = head in ("yolov5", "yolox")
    first = 5 if has_objectness else 4
    ranked, class_id = _AGNOSTIC if spec.options.class_agnostic_nms else _BY_CLASS
    match head:
        case "xyxy":
            corners = _CORNERS
        case "yolox":
            if count is None:
                raise ModelInvalid("the file leaves the number of its boxes open, so that their cells are not known")
            cells, strides = grid(spec.input.hw, count)
            corners = _IN_CELLS.format(cells=_numbers(cells.T), strides=_numbers(strides)) + _TO_CORNERS
        case _:
            corners = _IN_PIXELS + _TO_CORNERS
    return "\n".join(
        (
            (_ROWS_LAST if spec.layout.rows_last else _ROWS).format(output=output),
            _PARTS.format(first=first, last=first + classes),
            _OBJECTNESS if has_objectness else _PROBABILITIES,
            corners,
            ranked,
            _PICK.format(iou=float(spec.options.iou_threshold)),
            class_id,
            _STAY,
        )
    )


def _count(output: Any, *, rows_last: bool) -> int | None:  # noqa: ANN401 - onnx.ValueInfoProto
    """Number of boxes, as far as the file tells."""
    return output.type.tensor_type.shape.dim[1 if rows_last else 2].dim_value or None


def _numbers(values: NDArray[Any]) -> str:
    return ", ".join(f"{value:.1f}" for value in values.ravel())
