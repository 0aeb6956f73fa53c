"""Whatever a model answers, what comes out are boxes within the picture, and nothing else; and nothing stays behind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.layouts import Output, recognise
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.heads import HEADS, HeadName
from detector_grpc.vision.heads.dense import cells
from detector_grpc.vision.letterbox import Letterbox, Resize
from detector_grpc.vision.nms import suppress
from detector_grpc.vision.uncertainty import MEASURES, Measures

if TYPE_CHECKING:
    from collections.abc import Sequence

INPUTS = 100_000
INPUT_HW = (64, 96)
IMAGE_WH = (37, 211)
NUMBER = cells(INPUT_HW, (8, 16, 32))
EVERY_MEASURE = [Measures({name: 1.0}) for name in MEASURES]
MOST = 20
EXTREME = np.array([0, -0.0, 1, -1, 0.5, 1e-45, 1e30, -1e30, 3.4e38, np.inf, -np.inf, np.nan], np.float32)


def shapes(head: HeadName, classes: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Of the arrays that a head reads, without their batch dimension."""
    number = int(rng.integers(0, 12))
    by_head: dict[HeadName, list[tuple[int, ...]]] = {
        "cxcywh": [(4 + classes, number)],
        "xyxy": [(4 + classes, number)],
        "yolov5": [(5 + classes, number)],
        "yolox": [(5 + classes, NUMBER)],
        "end_to_end": [(6, number)],
        "efficient_nms": [(1,), (number, 4), (number,), (number,)],
        "labels_boxes_scores": [(number,), (number, 4), (number,)],
        "detr": [(number, 4), (number, classes)],
        "detr_softmax": [(number, 4), (number, classes + 1)],
    }
    return by_head[head]


def array(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Plausible numbers, extreme ones, or any bits at all, mixed."""
    size = int(np.prod(shape))
    plausible = rng.uniform(0, 1, size).astype(np.float32) * np.float32(rng.choice([1, 10, 100]))
    bits = np.frombuffer(rng.bytes(4 * size), np.float32)
    kinds = rng.choice(3, size, p=rng.dirichlet([3, 1, 1]))
    return np.choose(kinds, [plausible, rng.choice(EXTREME, size), bits]).astype(np.float32).reshape(shape)


def boxes(
    head: HeadName, outputs: Sequence[np.ndarray], thresholds: np.ndarray, rng: np.random.Generator
) -> Detections:
    """What the pipeline makes of the outputs of one picture, in pixels of the picture."""
    candidates = HEADS[head].decode(outputs, thresholds, INPUT_HW, multi_label=bool(rng.integers(2)), doubtful=64)
    for measures in EVERY_MEASURE if rng.integers(16) == 0 else ():
        assert 0 <= measures(candidates, thresholds).score <= 1  # false for what is no number
    found = candidates.boxes
    if HEADS[head].suppressed:
        kept = found.best(MOST)
    else:
        kept = suppress(found, float(rng.uniform()), class_agnostic=bool(rng.integers(2)), max_detections=MOST)
    letterbox = Letterbox.fit(IMAGE_WH, INPUT_HW, get_args(Resize)[rng.integers(len(get_args(Resize)))])
    return Detections(letterbox.to_image(kept.xyxy), kept.confidence, kept.class_id)


def assert_sound(kept: Detections, classes: int) -> None:
    assert len(kept) <= MOST
    assert np.isfinite(kept.confidence).all()
    assert (np.diff(kept.confidence) <= 0).all()
    assert ((kept.class_id >= 0) & (kept.class_id < classes)).all()
    assert ((kept.xyxy >= 0) & (kept.xyxy <= np.tile(IMAGE_WH, 2))).all()  # false for what is no number


def test_whatever_a_model_answers_boxes_come_out(memory: Any) -> None:
    watched, rng, found = memory(INPUTS), np.random.default_rng(0), Counter[HeadName]()
    with np.errstate(all="ignore"):
        for turn in range(INPUTS):
            head = get_args(HeadName)[turn % len(HEADS)]
            classes = int(rng.integers(1, 5))
            outputs = [array(shape, rng) for shape in shapes(head, classes, rng)]
            thresholds = rng.choice([0, 0.001, 0.25, 0.5, 1, np.inf], classes).astype(np.float32)
            kept = boxes(head, outputs, thresholds, rng)
            assert_sound(kept, classes)
            found[head] += len(kept) > 0
            watched.tick()
    assert min(found[head] for head in get_args(HeadName)) > INPUTS // len(HEADS) // 20  # the fuzzer gets through
    watched.assert_flat()


sizes = st.one_of(st.integers(0, 12), st.sampled_from([NUMBER, 3 * NUMBER, 84, 300]))
any_outputs = st.lists(st.tuples(st.lists(sizes, max_size=4).map(lambda rest: (1, *rest)), st.booleans()), max_size=5)


@settings(max_examples=1000, deadline=None)
@given(any_outputs, st.none() | st.integers(1, 12), st.none() | st.sampled_from(get_args(HeadName)))
def test_outputs_of_any_shape_are_refused_or_read_by_the_head_that_was_found(
    shapes_and_kinds: list[tuple[tuple[int, ...], bool]], names: int | None, head: HeadName | None
) -> None:
    outputs = [Output(f"output{index}", *each) for index, each in enumerate(shapes_and_kinds)]
    try:
        layout = recognise(outputs, INPUT_HW, names, "manifest.yaml", {}, head)
    except ModelInvalid:
        return
    by_name = {output.name: output for output in outputs}
    arrays = [np.ones(by_name[name].shape[1:], np.float32) for name in layout.outputs]
    classes = layout.classes or names or 1
    read = [arrays[0].T] if layout.rows_last else arrays
    with np.errstate(all="ignore"):
        found = (
            HEADS[layout.head]
            .decode(read, np.zeros(classes, np.float32), INPUT_HW, multi_label=False, doubtful=64)
            .boxes
        )
    assert ((found.class_id >= 0) & (found.class_id < classes)).all()
