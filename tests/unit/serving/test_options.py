"""What a caller asks for against the version's defaults."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from detector_grpc.errors import InvalidRequest
from detector_grpc.serving.options import DetectOptions, RequestedOptions

NAMES = ("car", "bus", "cat")
DEFAULTS = DetectOptions(
    confidence_threshold=0.4,
    iou_threshold=0.6,
    multi_label=True,
    class_agnostic_nms=True,
    max_detections=7,
    class_confidence_thresholds={"bus": 0.9},
    classes=("car", "bus"),
)
ASKED = {
    "confidence_threshold": 0.1,
    "iou_threshold": 0.2,
    "multi_label": False,
    "class_agnostic_nms": False,
    "max_detections": 3,
    "class_confidence_thresholds": {"cat": 0.5},
    "classes": ("cat",),
}


def test_what_is_unset_is_the_versions_default() -> None:
    assert RequestedOptions().over(DEFAULTS, NAMES) == DEFAULTS


@pytest.mark.parametrize("name", set(ASKED) - {"class_confidence_thresholds", "confidence_threshold"})
def test_each_option_that_is_set_takes_the_place_of_the_default_and_of_nothing_else(name: str) -> None:
    result = RequestedOptions(**{name: ASKED[name]}).over(DEFAULTS, NAMES)
    assert getattr(result, name) == ASKED[name]
    for other in fields(DetectOptions):
        if other.name != name:
            assert getattr(result, other.name) == getattr(DEFAULTS, other.name)


@pytest.mark.parametrize("name", ["confidence_threshold", "iou_threshold"])
def test_zero_is_a_value_and_not_unset(name: str) -> None:
    assert getattr(RequestedOptions(**{name: 0.0}).over(DEFAULTS, NAMES), name) == 0.0


def test_every_option_can_be_set_at_once() -> None:
    assert RequestedOptions(**ASKED).over(DEFAULTS, NAMES) == DetectOptions(**ASKED)


def test_a_threshold_of_the_request_also_replaces_the_versions_thresholds_by_class() -> None:
    result = RequestedOptions(confidence_threshold=0.1).over(DEFAULTS, NAMES)
    assert result.class_confidence_thresholds == {}


def test_thresholds_by_class_are_laid_over_those_of_the_version() -> None:
    result = RequestedOptions(class_confidence_thresholds={"cat": 0.5, "bus": 0.3}).over(DEFAULTS, NAMES)
    assert result.class_confidence_thresholds == {"bus": 0.3, "cat": 0.5}
    assert result.confidence_threshold == 0.4
    assert DEFAULTS.class_confidence_thresholds == {"bus": 0.9}


def test_unknown_classes_are_all_named_with_their_field() -> None:
    requested = RequestedOptions(classes=("car", "dog", "cow"), class_confidence_thresholds={"pig": 0.5, "cat": 0.5})
    with pytest.raises(InvalidRequest) as caught:
        requested.over(DEFAULTS, NAMES)
    assert [(v.field, v.description) for v in caught.value.violations] == [
        ("options.classes", 'the model has no class "dog"; it has car, bus, cat'),
        ("options.classes", 'the model has no class "cow"; it has car, bus, cat'),
        ("options.class_confidence_thresholds", 'the model has no class "pig"; it has car, bus, cat'),
    ]


def test_a_long_list_of_classes_is_cut_in_messages() -> None:
    names = [f"c{n}" for n in range(80)]
    with pytest.raises(InvalidRequest, match="it has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 70 more"):
        RequestedOptions(classes=("x",)).over(DetectOptions(), names)


def test_thresholds_are_per_class_and_infinite_for_what_is_not_wanted() -> None:
    options = DetectOptions(
        confidence_threshold=0.4, class_confidence_thresholds={"bus": 0.9, "cat": 0.1}, classes=("bus", "car")
    )
    thresholds = options.thresholds(NAMES)
    assert thresholds.dtype == np.float32
    np.testing.assert_allclose(thresholds, [0.4, 0.9, np.inf])


def test_no_filter_wants_every_class() -> None:
    np.testing.assert_allclose(DetectOptions(confidence_threshold=0.4).thresholds(NAMES), [0.4, 0.4, 0.4])
