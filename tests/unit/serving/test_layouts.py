"""Which head reads which outputs, for the exports that people have."""

from __future__ import annotations

import pytest

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.layouts import Layout, Output, recognise

FLOAT, INTEGER = True, False

CELLS = 8400  # of 640 x 640 px at strides 8, 16 and 32


def outputs(*shapes: tuple[tuple[int, ...], bool] | tuple[int, ...]) -> list[Output]:
    """Named a, b, c …; floating point unless said otherwise."""
    pairs = [shape if isinstance(shape[0], tuple) else (shape, FLOAT) for shape in shapes]
    return [Output(name, shape, is_float) for name, (shape, is_float) in zip("abcdef", pairs, strict=False)]


def read(
    found: list[Output],
    *,
    names: int | None = None,
    head: str | None = None,
    input_hw: tuple[int, int] = (640, 640),
    **metadata: str,
) -> Layout:
    return recognise(found, input_hw, names, "manifest.yaml", metadata, head)


@pytest.mark.parametrize(
    ("found", "names", "layout"),
    [
        (outputs((1, 84, CELLS)), None, Layout("cxcywh", ("a",), classes=80)),
        (outputs((1, 84, CELLS)), 80, Layout("cxcywh", ("a",), classes=80)),
        (outputs((1, 5, CELLS)), None, Layout("cxcywh", ("a",), classes=1)),
        (outputs((1, CELLS, 84)), 80, Layout("cxcywh", ("a",), rows_last=True, classes=80)),
        (outputs((1, 3 * CELLS, 85)), None, Layout("yolov5", ("a",), rows_last=True, classes=80)),
        (outputs((1, 3 * CELLS, 6)), None, Layout("yolov5", ("a",), rows_last=True, classes=1)),
        (outputs((1, 3 * 8500, 85)), None, Layout("yolov5", ("a",), rows_last=True, classes=80)),
        (outputs((1, 300, 6)), 80, Layout("end_to_end", ("a",), rows_last=True)),
        (outputs((1, 100, 6)), 1, Layout("end_to_end", ("a",), rows_last=True)),
        (outputs((1, 0, 6)), 80, Layout("end_to_end", ("a",), rows_last=True)),
        (outputs((1, 6, 6)), 80, Layout("end_to_end", ("a",), rows_last=True)),
        (outputs((1, 300, 6), (1, 9, CELLS)), 5, Layout("end_to_end", ("a",), rows_last=True)),
        (outputs((1, 300, 4), (1, 300, 80)), 80, Layout("detr", ("a", "b"), classes=80)),
        (outputs((1, 100, 92), (1, 100, 4)), 91, Layout("detr_softmax", ("b", "a"), classes=91)),
        (outputs((1, 116, CELLS), (1, 32, 160, 160)), 80, Layout("cxcywh", ("a",), classes=80)),
        (outputs((1, 3 * CELLS, 117), (1, 32, 160, 160)), 80, Layout("yolov5", ("a",), rows_last=True, classes=80)),
        (
            outputs(((1, 300), INTEGER), (1, 300, 4), (1, 300)),
            80,
            Layout("labels_boxes_scores", ("a", "b", "c")),
        ),
        (
            outputs(((1, 1), INTEGER), (1, 100, 4), (1, 100), ((1, 100), INTEGER)),
            80,
            Layout("efficient_nms", ("a", "b", "c", "d")),
        ),
        (
            outputs(((1,), INTEGER), (1, 100, 4), ((1, 100), INTEGER), (1, 100)),
            80,
            Layout("efficient_nms", ("a", "b", "d", "c")),
        ),
    ],
    ids=[
        "YOLOv9",
        "YOLOv9 with names",
        "YOLOv9 of one class",
        "YOLOv9 transposed",
        "YOLOv5",
        "YOLOv5 of one class",
        "YOLOv5 with four grids",
        "YOLOv10",
        "YOLOv10 of one class",
        "suppressed in the graph, nothing found",
        "suppressed in the graph, six found",
        "libreyolo with nms=True",
        "RT-DETR with logits",
        "DETR",
        "YOLOv8-seg",
        "YOLOv5-seg",
        "RT-DETR with post-processor",
        "EfficientNMS",
        "EfficientNMS, classes first",
    ],
)
def test_the_usual_exports_are_recognised(found: list[Output], names: int | None, layout: Layout) -> None:
    assert read(found, names=names) == layout


def vectors(*named: tuple[str, bool]) -> list[Output]:
    """Boxes, and two vectors of these names, fractions or not."""
    return [Output("boxes", (1, 9, 4), FLOAT), *(Output(name, (1, 9), is_float) for name, is_float in named)]


@pytest.mark.parametrize(
    "named",
    [
        [("class_id", INTEGER), ("class_confidence", FLOAT)],
        [("class_confidence", FLOAT), ("class_id", INTEGER)],
        [("scores", FLOAT), ("labels", FLOAT)],
        [("labels", FLOAT), ("scores", FLOAT)],
        [("x", FLOAT), ("y", INTEGER)],
    ],
)
def test_classes_are_told_from_confidences_by_type_and_else_by_name(named: list[tuple[str, bool]]) -> None:
    labels, _, scores = read(vectors(*named), names=2).outputs
    assert (labels, scores) in [("class_id", "class_confidence"), ("labels", "scores"), ("y", "x")]


def test_classes_that_cannot_be_told_from_confidences_are_not_guessed() -> None:
    with pytest.raises(ModelInvalid, match="could be read in several ways"):
        read(vectors(("a", FLOAT), ("b", FLOAT)), names=2)
    with pytest.raises(ModelInvalid, match="could be read in several ways"):
        read(vectors(("class_id", FLOAT), ("class_confidence", FLOAT)), names=2)
    with pytest.raises(ModelInvalid, match="no head that we know"):
        read(vectors(("a", INTEGER), ("b", INTEGER)), names=2)


def test_outputs_in_the_order_of_the_head_say_which_is_which() -> None:
    boxes, first, second = vectors(("a", FLOAT), ("b", FLOAT))
    assert read([first, boxes, second], names=2, head="labels_boxes_scores").outputs == ("a", "boxes", "b")
    assert read([second, boxes, first], names=2, head="labels_boxes_scores").outputs == ("b", "boxes", "a")


def test_a_grid_of_any_size_is_read_where_the_number_of_names_decides() -> None:
    fastestdet = outputs((1, 484, 85))
    assert read(fastestdet, names=80, input_hw=(352, 352)) == Layout("yolov5", ("a",), rows_last=True, classes=80)
    with pytest.raises(ModelInvalid, match="cxcywh, yolov5"):
        read(fastestdet, input_hw=(352, 352))


def test_logits_of_four_classes_are_told_from_boxes_by_name() -> None:
    both = [Output("pred_logits", (1, 300, 4), FLOAT), Output("pred_boxes", (1, 300, 4), FLOAT)]
    assert read(both, names=4) == Layout("detr", ("pred_boxes", "pred_logits"), classes=4)
    with pytest.raises(ModelInvalid, match="no head that we know"):
        read(outputs((1, 300, 4), (1, 300, 4)), names=4)


def test_the_family_chooses_between_heads_that_the_shapes_admit() -> None:
    yolox, dfine = outputs((1, CELLS, 85)), outputs((1, 300, 4), (1, 300, 80))
    with pytest.raises(ModelInvalid, match="yolov5, yolox"):
        read(yolox, names=80)
    assert read(yolox, names=80, model_family="yolox").head == "yolov5"
    assert read(yolox, names=80, model_family="yolox", head="yolox").head == "yolox"
    assert read(dfine, model_family="dfine").head == "detr"


def test_corners_are_told_by_libreyolos_metadata_only() -> None:
    found = outputs((1, 84, CELLS))
    assert read(found, model_family="yolo9").head == "xyxy"
    assert read(found, model_family="yolo8").head == "cxcywh"
    assert read(found, head="cxcywh", model_family="yolo9").head == "cxcywh"


@pytest.mark.parametrize(
    ("found", "names", "heads"),
    [
        (outputs((1, 3549, 85)), 80, "yolov5, yolox"),
        (outputs((1, 3549, 85)), None, "cxcywh, yolov5, yolox"),
        (outputs((1, 300, 4), (1, 300, 91)), None, "detr, detr_softmax"),
    ],
)
def test_what_could_be_read_in_several_ways_is_refused_with_the_ways_and_the_key(
    found: list[Output], names: int | None, heads: str
) -> None:
    with pytest.raises(ModelInvalid) as caught:
        read(found, names=names, input_hw=(416, 416))
    assert f"`head` in manifest.yaml to one of {heads}" in caught.value.message
    for output in found:
        assert str(output) in caught.value.message


@pytest.mark.parametrize("head", ["yolov5", "yolox"])
def test_the_manifest_decides_where_shapes_do_not(head: str) -> None:
    assert read(outputs((1, 3549, 85)), head=head, input_hw=(416, 416)) == Layout(head, ("a",), True, 80)  # noqa: FBT003


def test_the_manifest_may_name_a_head_that_shapes_speak_against() -> None:
    assert read(outputs((1, 300, 6)), head="yolov5").classes == 1
    with pytest.raises(ModelInvalid, match=r"the head detr does not read these outputs: a \[1, 300, 6\]"):
        read(outputs((1, 300, 6)), head="detr")


@pytest.mark.parametrize(
    "shape",
    [(1, 6), (2, 6, 21), (1, 4, 21), (1, 7, 7), (6, 21), (1, 3, 80, 80, 85)],
    ids=lambda shape: str(list(shape)),
)
def test_an_output_that_no_head_reads_is_refused_and_shown(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelInvalid, match="no head that we know reads these outputs") as caught:
        read(outputs(shape))
    assert str(list(shape)) in caught.value.message


def test_names_that_fit_no_reading_are_refused_with_all_counts() -> None:
    with pytest.raises(ModelInvalid) as caught:
        read(outputs((1, CELLS, 84)), names=3)
    assert caught.value.message == "manifest.yaml has 3 class names, but there are 79 or 80 classes in a [1, 8400, 84]"
