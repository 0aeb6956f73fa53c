"""What became of a feature, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc.drift.features import REPEATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.drift.features import Feature

# Classes of which a mix is told, those that changed most.
_MOST_CLASSES = 3


def moved(feature: Feature, before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """What became of the median of a feature, or of its spread where that changed more.

    Args:
        feature: The feature.
        before: float64 (3,), its quartiles.
        after: As `before`.
    """
    (low, median, high), (new_low, new_median, new_high) = before, after
    width, new_width = high - low, new_high - new_low
    if abs(new_width - width) > abs(new_median - median):
        verb = "widened" if new_width > width else "narrowed"
        return f"the spread of {feature.words} {verb} from {_short(width)} to {_short(new_width)}"
    if _short(median) == _short(new_median):
        return f"{feature.words} is {_short(median)} as before"
    return f"{feature.words} {_verb(median, new_median)} from {_short(median)} to {_short(new_median)}"


def mixed(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """What became of the classes whose shares changed most.

    Args:
        before: Number of boxes by class name.
        after: As `before`.
    """
    all_before, all_after = max(1, sum(before.values())), max(1, sum(after.values()))
    shares = {name: (before.get(name, 0) / all_before, after.get(name, 0) / all_after) for name in {*before, *after}}
    most = sorted(shares, key=lambda name: (-abs(shares[name][1] - shares[name][0]), name))[:_MOST_CLASSES]
    parts = [f"{name} {shares[name][0]:.0%} to {shares[name][1]:.0%}" for name in most]
    return f"the mix of classes went from {', '.join(parts)}" if parts else "no boxes"


def repeated(before: float, after: float) -> str:
    """What became of the share of pictures that are the same as another one."""
    if f"{before:.0%}" == f"{after:.0%}":
        return f"the {REPEATS.words} is {after:.0%} as before"
    return f"the {REPEATS.words} {_verb(before, after)} from {before:.0%} to {after:.0%}"


def _verb(before: float, after: float) -> str:
    return "rose" if after > before else "fell"


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits
