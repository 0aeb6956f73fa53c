"""What Prometheus is told, and what its rules ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry
from support.drift import observations

from detector_grpc.drift.audit import Audit
from detector_grpc.drift.keeper import Keeper
from detector_grpc.drift.metrics import DriftMetrics
from detector_grpc.drift.monitor import Monitor
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.series import Shape
from detector_grpc.drift.station import Station
from detector_grpc.drift.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

V1 = Watched("coco", "v1")
RULES = Path(__file__).parents[3] / "monitoring" / "rules" / "drift.yaml"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    store = Store(tmp_path)
    monitor = Monitor(Shape(block=20, first=10, learn_days_s=0))
    yield Station(monitor, Keeper(monitor, store, tmp_path / "references.json", Audit(tmp_path), 200), 200)
    store.close()


@pytest.fixture
def told(station: Station) -> CollectorRegistry:
    collectors = CollectorRegistry()
    collectors.register(DriftMetrics(station))
    return collectors


def test_states_features_and_groups_are_told(station: Station, told: CollectorRegistry) -> None:
    rng, names = np.random.default_rng(8), {"model": "coco", "version": "v1"}
    station.take(V1, "a", observations(rng, 200, "hall"), lost=7)
    assert told.get_sample_value("data_drift_detected_total", names) == 0
    assert told.get_sample_value("data_drift_state", {**names, "state": "stable"}) == 1

    station.take(V1, "a", observations(rng, 60, "hall", noise=90))

    assert told.get_sample_value("data_drift_detected_total", names) == 1
    assert told.get_sample_value("data_drift_state", {**names, "state": "drifted"}) == 1
    assert told.get_sample_value("data_drift_state", {**names, "state": "stable"}) == 0
    assert told.get_sample_value("data_drift_feature_ratio", {**names, "feature": "noise"}) > 1
    assert told.get_sample_value("data_drift_feature_evidence", {**names, "feature": "noise"}) >= 1
    assert told.get_sample_value("data_drift_feature_evidence", {**names, "feature": "size"}) == 0
    assert told.get_sample_value("data_drift_groups", {**names, "state": "drifted"}) == 1
    assert told.get_sample_value("data_drift_observations_lost_total", {**names, "reason": "undelivered"}) == 7
    assert told.get_sample_value("data_drift_stored") == 1


def test_rules_ask_for_what_is_told(station: Station, told: CollectorRegistry) -> None:
    station.take(V1, "a", observations(np.random.default_rng(8), 220, "hall"))
    names = {sample.name for metric in told.collect() for sample in metric.samples}
    names.add("object_detection_drift_observations_total")  # of servers, see interceptors.drift

    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]

    for rule in group["rules"]:
        asked = re.findall(r"\b\w*drift_\w+", rule["expr"])
        assert asked
        assert set(asked) <= names, rule
        assert {"summary"} <= rule["annotations"].keys()
