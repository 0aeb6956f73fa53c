"""Prediction of boxes, against the same filter written out with matrices."""

from __future__ import annotations

import numpy as np

from detector_grpc.vision import motion

PLACES = np.array([[0, 0, 40, 80], [100, 50, 130, 70]], np.float32)
STEP = np.array([[5, -3, 5, -3], [2, 2, 4, 3]], np.float32)


def after(frames: int) -> np.ndarray:
    """States after so many frames in which everything was seen."""
    states = motion.begin(PLACES)
    for frame in range(1, frames):
        states = motion.correct(motion.predict(states, np.ones(2, bool)), PLACES + frame * STEP)
    return states


class Matrices:
    """The textbook's filter (Kalman 1960) of one box: eight values, matrices of noise."""

    def __init__(self, xyxy: np.ndarray) -> None:
        self.mean = np.concatenate([self.measured(xyxy), np.zeros(4)])
        self.covariance = np.diag(np.concatenate([self.noise(1 / 10), self.noise(1 / 16)]))

    @staticmethod
    def measured(xyxy: np.ndarray) -> np.ndarray:
        return np.concatenate([(xyxy[:2] + xyxy[2:]) / 2, xyxy[2:] - xyxy[:2]]).astype(float)

    def noise(self, share: float) -> np.ndarray:
        return (share * np.tile(self.mean[2:4], 2)) ** 2

    def predict(self) -> None:
        move = np.eye(8) + np.eye(8, k=4)
        noise = np.diag(np.concatenate([self.noise(1 / 20), self.noise(1 / 160)]))
        self.mean, self.covariance = move @ self.mean, move @ self.covariance @ move.T + noise

    def correct(self, xyxy: np.ndarray) -> None:
        observe = np.eye(4, 8)
        total = observe @ self.covariance @ observe.T + np.diag(self.noise(1 / 20))
        gain = self.covariance @ observe.T @ np.linalg.inv(total)
        self.mean = self.mean + gain @ (self.measured(xyxy) - observe @ self.mean)
        self.covariance = self.covariance - gain @ total @ gain.T


def test_the_states_are_those_of_the_filter_with_matrices() -> None:
    references = [Matrices(place) for place in PLACES]
    for frame in range(1, 12):
        for index, reference in enumerate(references):
            reference.predict()
            reference.correct(PLACES[index] + frame * STEP[index])
    for index, reference in enumerate(references):
        state = after(12)[:, index]
        np.testing.assert_allclose(state[:2].ravel(), reference.mean, rtol=1e-9)
        for row, block in ((2, (0, 0)), (3, (0, 4)), (4, (4, 4))):
            np.testing.assert_allclose(state[row], np.diagonal(reference.covariance[block[0] :, block[1] :])[:4])


def test_a_steady_box_is_expected_where_it_will_be() -> None:
    states = motion.predict(after(60), np.ones(2, bool))
    np.testing.assert_allclose(motion.boxes(states), PLACES + 60 * STEP, atol=0.5)


def test_a_box_out_of_sight_moves_on_and_keeps_its_size() -> None:
    states = motion.predict(after(60), np.ones(2, bool))
    size = states[0, :, 2:]
    for _ in range(20):
        states = motion.predict(states, np.zeros(2, bool))
    np.testing.assert_array_equal(states[0, :, 2:], size)
    np.testing.assert_allclose(states[0, 0, :2] - [20, 40], 80 * STEP[0, :2], atol=1)


def test_a_box_is_never_smaller_than_a_pixel() -> None:
    states = motion.begin(np.array([[5, 5, 5, 5]], np.float32))
    for _ in range(5):
        states = motion.correct(motion.predict(states, np.ones(1, bool)), np.array([[5, 5, 5, 5]], np.float32))
    assert np.isfinite(states).all()
    shrinking = motion.begin(np.array([[0, 0, 30, 30]], np.float32))
    shrinking[1, :, 2:] = -20
    assert (motion.predict(shrinking, np.ones(1, bool))[0, :, 2:] == 10).all()
    assert (motion.predict(motion.predict(shrinking, np.ones(1, bool)), np.ones(1, bool))[0, :, 2:] == 1).all()


def test_there_may_be_none() -> None:
    none = motion.begin(np.empty((0, 4), np.float32))
    assert motion.boxes(motion.predict(none, np.empty(0, bool))).shape == (0, 4)
