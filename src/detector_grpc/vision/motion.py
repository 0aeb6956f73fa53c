"""Where boxes go from frame to frame: a Kalman filter of constant velocity, for many boxes at once.

The model is that of SORT (Bewley et al. 2016, arXiv:1602.00763), as in BoT-SORT (Aharon et al. 2022, arXiv:2206.14651):
centre, width and height of a box, each with a velocity, and noise in proportion to the box. Nothing in it ties one
coordinate to another, so that each is a filter of two values, and arithmetic on arrays does for a matrix per box.

`states` are float64 (5, N, 4): value, velocity per frame, variance of the value, its covariance with the velocity, and
variance of the velocity; of each of N boxes; by x and y of the centre, width and height, in px.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Standard deviations as shares of the box's width and height, as everybody has them since DeepSORT (Wojke et al. 2017).
_POSITION_NOISE = 1 / 20
_VELOCITY_NOISE = 1 / 160
_FIRST_POSITION_NOISE = 2 * _POSITION_NOISE
_FIRST_VELOCITY_NOISE = 10 * _VELOCITY_NOISE

_MIN_SIDE_PX = 1.0  # of an empty box nothing would be uncertain


def begin(xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """States of boxes that were seen for the first time; `xyxy` is float32 (N, 4)."""
    measured = _measured(xyxy)
    states = np.zeros((5, *measured.shape))
    states[0] = measured
    states[2] = _variance(measured, _FIRST_POSITION_NOISE)
    states[4] = _variance(measured, _FIRST_VELOCITY_NOISE)
    return states


def predict(states: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """States one frame later.

    Args:
        states: States.
        seen: (N,) Whether the box was seen in the frame before; the others move on, but keep their size.
    """
    value, velocity, variance, covariance, velocity_variance = states
    velocity = velocity * np.where(seen[:, None], 1.0, (1.0, 1.0, 0.0, 0.0))
    moved = value + velocity
    moved[:, 2:] = np.maximum(moved[:, 2:], _MIN_SIDE_PX)
    return np.stack(
        [
            moved,
            velocity,
            variance + 2 * covariance + velocity_variance + _variance(value, _POSITION_NOISE),
            covariance + velocity_variance,
            velocity_variance + _variance(value, _VELOCITY_NOISE),
        ]
    )


def correct(states: NDArray[np.float64], xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Predicted states after all boxes were seen; `xyxy` is float32 (N, 4), in the order of the states."""
    value, velocity, variance, covariance, velocity_variance = states
    total = variance + _variance(value, _POSITION_NOISE)
    gain, velocity_gain = variance / total, covariance / total
    surprise = _measured(xyxy) - value
    return np.stack(
        [
            value + gain * surprise,
            velocity + velocity_gain * surprise,
            (1 - gain) * variance,
            (1 - gain) * covariance,
            velocity_variance - velocity_gain * covariance,
        ]
    )


def boxes(states: NDArray[np.float64]) -> NDArray[np.float32]:
    """Where the boxes are thought to be: float32 (N, 4), xyxy, which may lie outside of the picture."""
    center, half = states[0, :, :2], states[0, :, 2:] / 2
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


def _measured(xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    low, high = xyxy[:, :2].astype(np.float64), xyxy[:, 2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, _MIN_SIDE_PX)], axis=1)


def _variance(value: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    return np.square(noise * np.tile(value[:, 2:], 2))
