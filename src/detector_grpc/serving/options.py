"""How detections are chosen: the defaults of a version, what a caller asks for, and what follows from both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from detector_grpc.errors import InvalidRequest, Violation, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MAX_DETECTIONS = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class DetectOptions:
    """Everything decided.

    Attributes:
        confidence_threshold: Lowest confidence of a detection. Range [0, 1].
        iou_threshold: Highest overlap of two detections. Range [0, 1].
        multi_label: Whether one box may be returned under several classes.
        class_agnostic_nms: Whether detections of different classes suppress each other.
        max_detections: Most detections. Range [1, MAX_DETECTIONS].
        class_confidence_thresholds: Lowest confidence by class name, instead of `confidence_threshold`.
        classes: Names of the classes to return; empty for all.
    """

    confidence_threshold: float = 0.25
    iou_threshold: float = 0.7
    multi_label: bool = False
    class_agnostic_nms: bool = False
    max_detections: int = 300
    class_confidence_thresholds: Mapping[str, float] = field(default_factory=dict)
    classes: Sequence[str] = ()

    def thresholds(self, class_names: Sequence[str]) -> NDArray[np.float32]:
        """Lowest confidence by class_id, float32 (number of classes,); infinity for classes that are not wanted."""
        by_class = self.class_confidence_thresholds
        if not (by_class or self.classes):
            return np.full(len(class_names), self.confidence_threshold, np.float32)
        wanted = frozenset(self.classes or class_names)
        return np.array(
            [by_class.get(name, self.confidence_threshold) if name in wanted else np.inf for name in class_names],
            np.float32,
        )


@dataclass(frozen=True)
class RequestedOptions:
    """What a caller asks for; None means the version's default. Fields as in DetectOptions, ranges checked."""

    confidence_threshold: float | None = None
    iou_threshold: float | None = None
    multi_label: bool | None = None
    class_agnostic_nms: bool | None = None
    max_detections: int | None = None
    class_confidence_thresholds: Mapping[str, float] = field(default_factory=dict)
    classes: Sequence[str] = ()

    def over(self, defaults: DetectOptions, class_names: Sequence[str]) -> DetectOptions:
        """Fills what is unset from the version's defaults.

        A confidence threshold of the request is meant for every class that the request does not name, so it also takes
        the place of the version's thresholds by class.

        Raises:
            InvalidRequest: A class is named that the model does not know.
        """
        if self == _UNSET:
            return defaults
        self._check_classes(class_names)
        if self.confidence_threshold is None:
            by_class = {**defaults.class_confidence_thresholds, **self.class_confidence_thresholds}
        else:
            by_class = dict(self.class_confidence_thresholds)
        return DetectOptions(
            confidence_threshold=_first(self.confidence_threshold, defaults.confidence_threshold),
            iou_threshold=_first(self.iou_threshold, defaults.iou_threshold),
            multi_label=_first(self.multi_label, defaults.multi_label),
            class_agnostic_nms=_first(self.class_agnostic_nms, defaults.class_agnostic_nms),
            max_detections=_first(self.max_detections, defaults.max_detections),
            class_confidence_thresholds=by_class,
            classes=self.classes or defaults.classes,
        )

    def _check_classes(self, class_names: Sequence[str]) -> None:
        known = frozenset(class_names)
        named = {"classes": self.classes, "class_confidence_thresholds": self.class_confidence_thresholds}
        violations = [
            Violation(f"options.{where}", f'the model has no class "{name}"; it has {listed(class_names)}')
            for where, names in named.items()
            for name in names
            if name not in known
        ]
        if violations:
            raise InvalidRequest(violations)


_UNSET = RequestedOptions()


def _first(asked: T | None, default: T) -> T:
    return default if asked is None else asked
