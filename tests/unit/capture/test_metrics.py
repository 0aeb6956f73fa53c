"""What Prometheus is told, and what its rules ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from detector_grpc.capture.metrics import CAPTURED, OUTCOMES, CaptureMetrics
from detector_grpc.capture.spool import Spool, SpoolLimits
from detector_grpc.gateway.metrics import SUMMED_GAUGES

RULES = Path(__file__).parents[3] / "monitoring" / "rules" / "active_learning.yaml"


@pytest.fixture
def collectors() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(tmp_path: Path, collectors: CollectorRegistry) -> CaptureMetrics:
    return CaptureMetrics(collectors, Spool(tmp_path, SpoolLimits(1, 1, "oldest")))


def test_what_is_captured_is_counted_by_the_name_that_dashboards_know(
    metrics: CaptureMetrics, collectors: CollectorRegistry
) -> None:
    for outcome in (CAPTURED, "duplicate"):
        metrics.became("m", "v1", outcome)

    names = {"model": "m", "version": "v1"}
    assert collectors.get_sample_value("active_learning_samples_total", names) == 1
    for outcome in (CAPTURED, "duplicate"):
        assert collectors.get_sample_value("active_learning_pictures_total", {**names, "outcome": outcome}) == 1


def test_rules_and_the_gateway_ask_for_what_is_told(metrics: CaptureMetrics, collectors: CollectorRegistry) -> None:
    metrics.add_version("m", "v1")
    metrics.failed("timeout")
    told = {sample.name for metric in collectors.collect() for sample in metric.samples}

    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]:
        (asked,) = re.findall(r"\bactive_learning_\w+", rule["expr"])
        assert asked in told
        assert all(outcome in OUTCOMES for outcome in re.findall(r'outcome="(\w+)"', rule["expr"]))
    assert {name for name in SUMMED_GAUGES if name.startswith("active_learning_")} <= told
