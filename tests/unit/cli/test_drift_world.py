"""When a simulation begins and ends, and what it says meanwhile."""

from __future__ import annotations

import itertools
from typing import Any

import click
import numpy as np
import pytest

from detector_grpc.cli.drift.world import World
from detector_grpc.drift.simulator import SHIFTS, Replay

IMAGES = itertools.repeat(np.full((8, 8, 3), 90, np.uint8))


def status(state: str, *, needed: int = 0, words: str = "brightness fell from 140 to 17") -> dict[str, Any]:
    features = [{"words": words, "drifted": True}, {"words": "noise is 1 as before", "drifted": False}]
    return {"state": state, "observations": 30, "observations_needed": needed, "features": features}


def test_the_world_changes_once_it_is_stable_and_ends_when_drift_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    replay = Replay(SHIFTS["dead"], 1.0)
    images, world = replay.of(IMAGES), World(replay, begins_when_stable=True, most=100)

    for said in (status("LEARNING", needed=800), status("STABLE"), status("STABLE"), status("WARNING")):
        next(images)
        assert world.goes_on
        world.see(said)
    assert replay.changed == 2
    world.see(status("DRIFTED"))

    assert world.was_called
    assert not world.goes_on
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "1 pictures LEARNING, 30 of 800 observations",
        "2 pictures STABLE",
        "2 pictures from now on all pictures are changed",
        "2 changed pictures WARNING: brightness fell from 140 to 17",
        "2 changed pictures DRIFTED: brightness fell from 140 to 17",
    ]


def test_it_ends_after_so_many_changed_pictures() -> None:
    replay = Replay(SHIFTS["dead"], 1.0, begins_at=2)
    world = World(replay, begins_when_stable=False, most=3)
    images = replay.of(IMAGES)
    for _ in range(4):
        next(images)
        assert world.goes_on
        world.see(status("STABLE"))

    next(images)
    assert replay.changed == 3
    assert not world.goes_on
    assert not world.was_called


def test_what_is_drifted_before_is_an_error() -> None:
    world = World(Replay(SHIFTS["dead"], 1.0), begins_when_stable=True, most=3)

    with pytest.raises(click.ClickException, match="DRIFTED before anything was changed: brightness fell"):
        world.see(status("DRIFTED"))


def test_where_nothing_is_observed_it_is_said_why_that_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(Replay(SHIFTS["dead"], 1.0), begins_when_stable=True, most=3)
    for _ in range(40):
        world.see(None)

    assert capsys.readouterr().out.count("nothing has been observed so far; see DETECTOR_DRIFT_TARGET") == 1
