from __future__ import annotations

import numpy as np
import pytest
from support.drift import NOON_S, observations

from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.monitor import Bounds, Monitor
from detector_grpc.drift.observation import Observation, Watched
from detector_grpc.drift.series import Shape

SHAPE = Shape(block=20, first=10, learn_days_s=0)
V1, V2 = Watched("coco", "v1"), Watched("coco", "v2")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_versions_are_watched_apart(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE)
    monitor.add(V1, "a", observations(rng, 200), NOON_S)
    monitor.add(V2, "b", observations(rng, 10), NOON_S)
    monitor.add(V1, "a", observations(rng, 60, noise=90), NOON_S + 1)

    assert monitor.versions[V1].series.state is DriftState.DRIFTED
    assert monitor.versions[V2].series.state is DriftState.LEARNING


def test_two_replicas_with_half_of_the_traffic_are_one(rng: np.random.Generator) -> None:
    """Each sends a batch every few seconds, so observations of the same seconds come one replica after the other."""
    traffic = observations(rng, 400) + observations(rng, 200, brightness=60) + observations(rng, 400)
    one, two = Monitor(SHAPE), Monitor(SHAPE)
    states = []
    for start in range(0, len(traffic), 10):
        batch = traffic[start : start + 10]
        one.add(V1, "a", batch, NOON_S + start)
        two.add(V1, "a", batch[::2], NOON_S + start)
        two.add(V1, "a", batch[1::2], NOON_S + start)
        states.append((one.versions[V1].series.state, two.versions[V1].series.state))

    assert {DriftState.LEARNING, DriftState.STABLE, DriftState.DRIFTED} <= {first for first, _ in states}
    assert all(first is second for first, second in states)


def test_a_stream_of_its_own_can_drift_while_the_version_is_stable(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE)

    def round_of_all(at_s: float, **changed: float) -> None:
        for camera in range(30):
            change = changed if camera == 7 else {}
            monitor.add(V1, "a", observations(rng, 6, f"camera {camera}", **change), at_s)

    for at_s in NOON_S + 60 * np.arange(15):
        round_of_all(at_s, **({} if at_s < NOON_S + 720 else {"edge_upright": 11.5, "upper_light": 60.0}))

    states = {name: series.state for name, series in monitor.versions[V1].groups.items()}
    assert states.pop("camera 7") is DriftState.DRIFTED
    assert set(states.values()) == {DriftState.STABLE}
    assert monitor.versions[V1].series.state is DriftState.STABLE


def test_the_group_that_was_silent_for_longest_makes_room(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE, bounds=Bounds(groups=2))
    for name in ("one", "two", "one", "three"):
        monitor.add(V1, "a", observations(rng, 1, name), NOON_S)

    assert list(monitor.versions[V1].groups) == ["one", "three"]


def test_ids_that_are_made_up_drive_no_camera_out(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE, bounds=Bounds(groups=3, per_s=1e9))
    cameras = [f"camera {number}" for number in range(3)]
    for name in cameras[:2]:
        monitor.add(V1, "a", observations(rng, 72, name), NOON_S)

    for number in range(500):
        monitor.add(V1, "a", observations(rng, 1, f"made up {number}"), NOON_S + number)
    assert list(monitor.versions[V1].groups) == [*cameras[:2], "made up 499"]
    assert len(monitor.versions[V1].forgotten) == 3  # it does not grow while nothing can be written

    monitor.add(V1, "a", observations(rng, 72, cameras[2]), NOON_S + 500)
    monitor.add(V1, "a", observations(rng, 1, "made up"), NOON_S + 501)
    assert list(monitor.versions[V1].groups) == cameras


def test_a_camera_that_is_gone_makes_room(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE, bounds=Bounds(groups=1, per_s=1e9))
    monitor.add(V1, "a", observations(rng, 72, "old"), NOON_S)

    monitor.add(V1, "a", observations(rng, 72, "new"), NOON_S + 2 * 86400)

    assert list(monitor.versions[V1].groups) == ["new"]


def test_a_million_at_once_are_bounded_and_counted(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE, bounds=Bounds(per_s=2))
    one = observations(rng, 1)

    refused = [monitor.add(V1, "a", one * 10_000, NOON_S).get("too_many", 0) for _ in range(100)]

    assert sum(refused) == 1_000_000 - 120
    assert monitor.versions[V1].series.blocks == 6
    assert not monitor.add(V1, "a", one * 2, NOON_S + 1)


def test_versions_are_bounded(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE, bounds=Bounds(versions=1))
    monitor.add(V1, "a", observations(rng, 1), NOON_S)

    assert monitor.add(V2, "a", observations(rng, 3), NOON_S) == {"too_many_versions": 3}


def test_a_version_that_is_gone_makes_room(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE, bounds=Bounds(versions=1))
    monitor.add(V1, "a", observations(rng, 1), NOON_S)

    assert not monitor.add(V2, "a", observations(rng, 3), NOON_S + 90_000)

    assert list(monitor.versions) == [V2]
    assert monitor.forgotten == {V1}
    monitor.begin(V1, "a")
    assert not monitor.forgotten


def test_numbers_that_are_none_are_left_out_and_counted(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE)
    (sound,) = observations(rng, 1)
    endless = sound._replace(values=np.full_like(sound.values, np.inf))
    silent = sound._replace(values=np.full_like(sound.values, np.nan))

    assert monitor.add(V1, "a", [sound, endless, silent], NOON_S) == {"not_finite": 1}
    assert len(monitor.versions[V1].series.pending) == 2


def test_observations_of_another_schema_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="21 features"):
        Monitor(SHAPE).add(V1, "a", [Observation(np.zeros(3, np.float32), {})], NOON_S)


def test_another_model_file_is_another_world_once_the_last_replica_has_it(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE)
    monitor.add(V1, "old", observations(rng, 200), NOON_S)

    assert monitor.add(V1, "new", observations(rng, 5), NOON_S + 10) == {"other_file": 5}
    assert monitor.versions[V1].series.state is DriftState.STABLE

    assert not monitor.add(V1, "new", observations(rng, 5), NOON_S + 90)
    assert monitor.versions[V1].series.state is DriftState.LEARNING
    assert monitor.versions[V1].digest == "new"


def test_a_clock_that_goes_back_keeps_no_model_file_out(rng: np.random.Generator) -> None:
    monitor = Monitor(SHAPE)
    monitor.add(V1, "old", observations(rng, 5), NOON_S)

    assert not monitor.add(V1, "new", observations(rng, 5), NOON_S - 1e7)
