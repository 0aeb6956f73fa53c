"""Which head reads a model's outputs, concluded from their names, types and shapes.

Files do not say what their outputs mean, so this collects every reading that the shapes admit, and lets what else is
known decide: the manifest's `head`, the number of class names, and the number of boxes. A model whose boxes lie on
grids has one, or with anchors three, per cell; one that finds each object once has as many as it likes. Where more than
one reading is left, the manifest has to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.families import family_of
from detector_grpc.vision.heads.dense import BOX_ROWS, STRIDES, cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector_grpc.vision.heads import HeadName

ANCHORS = 3
END_TO_END_ROWS = 6


class Output(NamedTuple):
    """One output as a run on a blank picture showed it.

    Attributes:
        name: Its name.
        shape: Its shape, batch dimension included.
        is_float: Whether it holds fractions.
    """

    name: str
    shape: tuple[int, ...]
    is_float: bool

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)}"


@dataclass(frozen=True)
class Layout:
    """A reading of the outputs.

    Attributes:
        head: The head that reads them.
        outputs: Names of the outputs that the head takes, in its order.
        rows_last: Whether the one array is (N, rows), and has to be transposed for the head.
        classes: Number of classes that the shapes tell; None where they do not.
    """

    head: HeadName
    outputs: tuple[str, ...]
    rows_last: bool = False
    classes: int | None = None


class Reading(NamedTuple):
    """A layout that the shape of one array admits.

    Attributes:
        layout: It.
        is_likely: Whether the number of boxes speaks for it; else it is taken only where the manifest names the head.
    """

    layout: Layout
    is_likely: bool


def recognise(
    outputs: Sequence[Output],
    input_hw: tuple[int, int],
    class_count: int | None,
    class_source: str,
    metadata: Mapping[str, str],
    head: HeadName | None,
) -> Layout:
    """Finds the one layout that fits.

    Args:
        outputs: The outputs to look at.
        input_hw: Size of the model's input, model px.
        class_count: Number of class names; None where nobody gives any.
        class_source: Who gives them, for messages.
        metadata: The file's own key-value pairs.
        head: The head that the manifest names, if any.

    Raises:
        ModelInvalid: None fits, or more than one.
    """
    family = family_of(metadata)
    usual = family and family.head
    several, one = list(_several_arrays(outputs)), list(_one_array(outputs, input_hw, head or usual))
    if head is None:
        fitting = several or [reading.layout for reading in one if reading.is_likely]
    else:
        fitting = [layout for layout in (*several, *(reading.layout for reading in one)) if layout.head == head]
    if not fitting:
        wanted = "no head that we know reads" if head is None else f"the head {head} does not read"
        raise ModelInvalid(f"{wanted} these outputs: {', '.join(map(str, outputs))}")
    counted = [layout for layout in fitting if class_count is None or layout.classes in (class_count, None)]
    if not counted:
        seen = " or ".join(sorted({str(layout.classes) for layout in fitting}))
        shapes = ", ".join(map(str, outputs))
        raise ModelInvalid(f"{class_source} has {class_count} class names, but there are {seen} classes in {shapes}")
    # What the exporter put into the graph to find each object once is there to be used.
    best = [layout for layout in counted if layout.head == "end_to_end"] or counted
    if head is None:
        best = [layout for layout in best if layout.head == usual] or best
    if head is not None and len(best) > 1:  # the manifest may list the outputs in the order of the head
        listed = tuple(output.name for output in outputs)
        best = [layout for layout in best if layout.outputs == listed] or best
    if len(best) > 1:
        heads, arrays = ", ".join(sorted({layout.head for layout in best})), {layout.outputs for layout in best}
        which = ", and `outputs` to what it reads" if len(arrays) > 1 else ""
        names = "`class_names`, or " if class_count is None and len({layout.classes for layout in best}) > 1 else ""
        raise ModelInvalid(
            f"{', '.join(map(str, outputs))} could be read in several ways: set {names}`head` in manifest.yaml to one "
            f"of {heads}{which}"
        )
    return best[0]


def _several_arrays(outputs: Sequence[Output]) -> Iterator[Layout]:
    """Readings of boxes (1, N, 4) beside confidences and classes of their own."""
    boxes = [each for each in outputs if len(each.shape) == 3 and each.shape[2] == BOX_ROWS]  # noqa: PLR2004
    if len(boxes) > 1:  # the logits of four classes have the shape of boxes
        boxes = [each for each in boxes if "box" in each.name.lower()]
    if len(boxes) != 1:
        return
    number = boxes[0].shape[1]
    vectors = [each for each in outputs if each.shape == (1, number)]
    for scores, labels in _roles(vectors):
        counts = [each for each in outputs if each.shape in ((1, 1), (1,)) and each not in vectors]
        if counts:
            named = (counts[0].name, boxes[0].name, scores.name, labels.name)
            yield Layout("efficient_nms", named)
        else:
            yield Layout("labels_boxes_scores", (labels.name, boxes[0].name, scores.name))
    for logits in outputs:
        if logits.shape[:2] == (1, number) and len(logits.shape) == 3 and logits is not boxes[0]:  # noqa: PLR2004
            names, count = (boxes[0].name, logits.name), logits.shape[2]
            yield Layout("detr", names, classes=count)
            if count > 1:
                yield Layout("detr_softmax", names, classes=count - 1)


def _roles(vectors: Sequence[Output]) -> list[tuple[Output, Output]]:
    """Which of two vectors may hold the confidences and which the classes: told by their types, else by their names."""
    if len(vectors) != 2:  # noqa: PLR2004 - confidences and classes
        return []
    both = [(vectors[0], vectors[1]), (vectors[1], vectors[0])]
    by_type = [(scores, labels) for scores, labels in both if scores.is_float and not labels.is_float]
    if by_type or not all(each.is_float for each in vectors):
        return by_type
    by_name = [(scores, labels) for scores, labels in both if _says_classes(labels) and not _says_classes(scores)]
    return by_name or both


def _says_classes(output: Output) -> bool:
    return any(word in output.name.lower() for word in ("label", "class", "cls"))


def _one_array(outputs: Sequence[Output], input_hw: tuple[int, int], said: HeadName | None) -> Iterator[Reading]:
    """Readings of one array (1, rows, N) or (1, N, rows), beside which there may be the prototypes of masks.

    Whether boxes are corners no shape tells, only the head that is `said`.
    """
    masks = sum(each.shape[1] for each in outputs if len(each.shape) == 4)  # noqa: PLR2004
    per_cell = {cells(input_hw, strides) for strides in STRIDES}
    corners: HeadName = "xyxy" if said == "xyxy" else "cxcywh"
    for output in outputs:
        match output.shape:
            case (1, first, second) if output.is_float:
                number, rows, rows_last = max(first, second), min(first, second) - masks, first > second
            case _:
                continue
        once, thrice = number in per_cell, number in {ANCHORS * count for count in per_cell}
        named = (output.name,)

        # Of a blank picture there may be fewer objects than rows, or none.
        objects = second == END_TO_END_ROWS and not (once or thrice)
        if second == END_TO_END_ROWS:
            yield Reading(Layout("end_to_end", named, rows_last=True), is_likely=objects)
        if first == second:
            continue
        if (classes := rows - BOX_ROWS) > 0:
            yield Reading(Layout(corners, named, rows_last, classes), is_likely=not (objects or thrice))
        if (classes := rows - BOX_ROWS - 1) > 0:
            yield Reading(Layout("yolov5", named, rows_last, classes), is_likely=rows_last and not objects)
            if once:
                yield Reading(Layout("yolox", named, rows_last, classes), is_likely=rows_last)
