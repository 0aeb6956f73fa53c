"""What a report shows of a version."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.features import NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.drift.observation import Watched
    from detector_grpc.drift.series import Series


class ReportSource(NamedTuple):
    """What is shown of a version.

    Attributes:
        watched: Its name.
        blocks: How many blocks there have been.
        is_drifted: Whether it is DRIFTED.
        reference: float32 (M, F), observations that count now.
        current: float32 (N, F), those of late; where the world has changed, since then.
        allowed: float64 (F,), the distance that is no surprise; NaN of what cannot be compared.
    """

    watched: Watched
    blocks: int
    is_drifted: bool
    reference: NDArray[np.float32]
    current: NDArray[np.float32]
    allowed: NDArray[np.float64]

    @classmethod
    def of(cls, watched: Watched, series: Series, now_s: float) -> ReportSource | None:
        """What there is to be shown now; None before anything has been compared."""
        if series.reference is None or not series.deviations:
            return None
        reference, current = (
            np.concatenate([block.values for block in blocks])
            for blocks in (series.reference.near(now_s), series.like_now[-series.shape.window :])
        )
        deviations = series.deviations
        allowed = [deviations[name].allowed if name in deviations else math.nan for name in NAMES]
        is_drifted = series.state is DriftState.DRIFTED
        return cls(watched, series.blocks, is_drifted, reference, current, np.array(allowed))
