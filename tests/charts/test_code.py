"""What chart and examples say of the code is so: variables, ports, health names, paths. Needs no Helm."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from support.charts import CHART, NEWEST, ROOT

from detector_grpc import settings
from detector_grpc.rpc.health import ALIVE

EXAMPLES = ROOT / "examples" / "kubernetes"
TEMPLATES = sorted((CHART / "templates").rglob("*.*"))
FILES = [*TEMPLATES, *EXAMPLES.glob("*.yaml")]
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in FILES)

OF_AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}


def test_every_variable_is_a_setting() -> None:
    named = set(re.findall(r"\b(?:DETECTOR|MODEL|AWS)_\w+\b|\b(?:UNCERTAINTY_THRESHOLD|S3_\w+|LOG_LEVEL)\b", TEXT))
    assert {each for each in named if not each.startswith("MODEL_")} <= _variables() | OF_AWS
    assert {each for each in named if each.startswith("MODEL_")} <= _variables() | {"MODEL_"}


def test_every_port_is_where_the_code_listens() -> None:
    own = settings.defaults()
    listened = {
        own.server.port,
        own.server.metrics_port,
        own.drift.port,
        own.drift.metrics_port,
        own.gateway.port,
        own.gateway.metrics_port,
    }
    told = {int(port) for port in re.findall(r"(?:containerPort|grpc: \{port): (\d+)", TEXT)}
    assert told == listened


def test_every_health_name_is_one_that_servers_know() -> None:
    assert set(re.findall(r"grpc: \{port: \d+, service: (\w+)\}", TEXT)) == {ALIVE}


def test_every_path_that_is_asked_is_one_of_the_gateway() -> None:
    described = json.loads((ROOT / "src/detector_grpc/gateway/openapi.json").read_text(encoding="utf-8"))["paths"]
    assert set(re.findall(r"httpGet: \{path: ([^,]+),", TEXT)) <= {*described, "/openapi.json"}


def test_every_setting_that_values_may_name_is_one() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert set(schema["definitions"]["settings"]["propertyNames"]["enum"]) <= _variables()


def test_kserve_runs_a_pod_that_kubernetes_knows() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="its package is not installed here").validate
    runtime, service = yaml.safe_load_all((EXAMPLES / "kserve.yaml").read_text(encoding="utf-8"))
    pod = {key: runtime["spec"][key] for key in ("containers", "volumes")}
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}, NEWEST, strict=True)
    assert service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]
    drain_s = settings.defaults().server.drain_wait_s + settings.defaults().server.grace_s
    assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] >= drain_s + 10


def _variables() -> set[str]:
    return {variable for _, variable, _ in settings.variables()}
