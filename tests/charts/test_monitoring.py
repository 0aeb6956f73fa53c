"""Alerts fire when they should, and rules and dashboards ask for metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from support.charts import ROOT, tool

from detector_grpc import settings
from detector_grpc.capture.metrics import CaptureMetrics
from detector_grpc.capture.spool import Spool, SpoolLimits
from detector_grpc.drift.metrics import DriftMetrics
from detector_grpc.drift.store import Store
from detector_grpc.drift_app import _station
from detector_grpc.interceptors.drift import DriftObserver, SampleLimits
from detector_grpc.interceptors.later import Later
from detector_grpc.interceptors.metrics import Metrics
from detector_grpc.interceptors.shadow import Shadow, ShadowLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
TESTS = sorted((MONITORING / "tests").glob("*.test.yaml"))
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))

# Of others: Prometheus itself, Envoy (which tests/integration/test_gateway_metrics.py asks), NVIDIA's DCGM exporter,
# cAdvisor, kube-state-metrics.
FOREIGN = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "severity", "alertstate"},
    "envoy_cluster_membership_healthy": {"envoy_cluster_name"},
    "envoy_cluster_upstream_cx_none_healthy": {"envoy_cluster_name"},
    "envoy_http_downstream_cx_active": {"envoy_http_conn_manager_prefix"},
    "envoy_http_downstream_rq_active": {"envoy_http_conn_manager_prefix"},
    "envoy_http_downstream_rq_xx": {"envoy_http_conn_manager_prefix", "envoy_response_code_class"},
    "envoy_overload_envoy_resource_monitors_fixed_heap_pressure": set(),
    "DCGM_FI_DEV_GPU_UTIL": {"Hostname", "gpu"},
    "DCGM_FI_DEV_FB_USED": {"Hostname", "gpu"},
    "container_cpu_cfs_periods_total": {"pod"},
    "container_cpu_cfs_throttled_periods_total": {"pod"},
    "kube_pod_container_status_restarts_total": {"pod"},
}

# Prometheus adds them to what it scrapes.
TARGET = {"job", "instance", "namespace", "service", "pod"}


def rules() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False)


def test_prometheus_understands_its_configuration_and_all_rules() -> None:
    ended = promtool("check", "config", str(MONITORING / "prometheus.yaml"))
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_alerts_fire_and_are_silent_as_their_tests_say(file: Path) -> None:
    ended = promtool("test", "rules", str(file))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    tried: set[tuple[str, bool]] = set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            tried |= {(each["alertname"], bool(each["exp_alerts"])) for each in test["alert_rule_test"]}
    assert tried == {(name, fires) for name in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_says_what_is_wrong_how_much_it_matters_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every series that our processes can tell, by name, with its labels."""
    collectors = CollectorRegistry()
    ProcessCollector(registry=collectors)
    Metrics(Later(), collectors, queue_depth=int, streams=int, shed=dict, providers=tuple, unwritten_lines=int)
    CaptureMetrics(collectors, Spool(tmp_path_factory.mktemp("spool"), SpoolLimits(1, 1.0, "oldest")))
    nobody: Any = None  # to send anything to
    DriftObserver(nobody, SampleLimits(1.0, 1.0), collectors)
    Shadow(nobody, ShadowLimits(1, 1, 1.0), collectors)
    folder = tmp_path_factory.mktemp("drift")
    with closing(Store(folder)) as store:
        collectors.register(DriftMetrics(_station(settings.load({"drift.state": folder}), store)))
        return dict(chain.from_iterable(_series(each) for each in collectors._collector_to_names))


def _series(collector: Any) -> Iterator[tuple[str, set[str]]]:
    families = (
        [(collector._name, collector._type, collector._labelnames)]
        if isinstance(collector, MetricWrapperBase)
        else [(each.name, each.type, getattr(each, "_labelnames", ())) for each in collector.collect()]
    )
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    for name, kind, labels in families:
        for suffix in suffixes[kind]:
            yield name + suffix, {*labels, *(["le"] if suffix == "_bucket" else [])}


def queries() -> Iterator[tuple[str, str]]:
    """Where each query is, and the query."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{file.stem}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                values = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert values is not None
                yield f"{file.stem}: {variable['name']}", f"count by ({values[2]}) ({values[1]})"


QUERIES = [pytest.param(query, id=place) for place, query in queries()]

RECORDED = {rule["record"] for rule in rules() if "record" in rule}
WORDS = re.compile(
    r"\b(?:sum|avg|max|count|rate|increase|histogram_quantile|absent|last_over_time|and|or|on|unless|offset|by|group_left)\b"
)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_series_and_labels_that_there_are(query: str, metrics: dict[str, set[str]]) -> None:
    known = FOREIGN | metrics
    bare = re.sub(r'"[^"]*"|\[[^]]*\]', "", query)  # strings, ranges
    names, asked = [], set()
    for name, selector in re.findall(r"([A-Za-z_][\w:]*)\s*(?:\{([^}]*)\})?", re.sub(GROUPING, " ", bare)):
        if WORDS.fullmatch(name) or name in RECORDED:
            continue
        assert name in known
        names.append(name)
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= known[name] | TARGET
        asked |= known[name]
    if RECORDED.isdisjoint(re.findall(r"[\w:]+", bare)):
        assert names
        grouped = {label for each in re.findall(GROUPING, bare) for label in re.findall(r"\w+", each)}
        assert grouped <= asked | TARGET


GROUPING = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")


def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path) -> None:
    written = [
        {
            "record": f"query:{number}",
            "expr": re.sub(r"\$__rate_interval", "1m", re.sub(r"\$(namespace|model)\b", ".*", query)),
        }
        for number, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": written}]}), encoding="utf-8")
    ended = promtool("check", "rules", "--lint=none", str(file))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_dashboards_are_told_apart_and_name_no_data_source() -> None:
    read = [json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS]
    assert len({each["uid"] for each in read}) == len({each["title"] for each in read}) == len(read)
    assert {panel["datasource"]["uid"] for each in read for panel in each["panels"]} == {"${datasource}"}
