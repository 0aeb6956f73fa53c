"""Worlds to watch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.drift.block import Block
from detector_grpc.drift.features import FEATURES, NAMES
from detector_grpc.drift.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector_grpc.drift.series import Series

NOON_S = 1_700_000_000 // 86_400 * 86_400 + 12 * 3600.0

# What numbers are like where nothing is said of them; wide enough that chance stays below the least change.
_CENTRE = dict.fromkeys(NAMES, 10.0) | {"brightness": 120.0}
_SIGMA = {feature.name: feature.least_change for feature in FEATURES}


def observation(rng: np.random.Generator, group: str = "", **centre: float) -> Observation:
    """Independent normal numbers, around a centre that is the same for all unless said otherwise."""
    centres = _CENTRE | centre
    values = [rng.normal(centres[name], _SIGMA[name]) for name in NAMES]
    classes = Counter(rng.choice(["person", "dog"], 3, p=[0.8, 0.2]).tolist())
    return Observation(np.array(values, np.float32), classes, group)


def observations(rng: np.random.Generator, count: int, group: str = "", **centre: float) -> list[Observation]:
    return [observation(rng, group, **centre) for _ in range(count)]


def as_if_live(seen: Observation, rng: np.random.Generator) -> Observation:
    """As if the camera had looked again: no two pictures of one are the same."""
    return seen._replace(values=(seen.values * (1 + rng.normal(0, 1e-6, seen.values.shape))).astype(np.float32))


def block(rng: np.random.Generator, count: int = 100, at_s: float = NOON_S, **centre: float) -> Block:
    return Block.of(observations(rng, count, **centre), at_s)


def feed(series: Series, seen: Iterable[Observation], at_s: float = NOON_S, every_s: float = 1.0) -> float:
    """Adds all, one after the other; returns the time after the last."""
    for each in seen:
        at_s += every_s
        series.add(each, at_s)
    return at_s
