"""What is to be kept in a repository, the chart takes; and what CI is told to run, there is."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.charts import CHART, ROOT, render, tool
from support.pages import check_command

if TYPE_CHECKING:
    from pathlib import Path

GITOPS = ROOT / "examples" / "gitops"
VALUES = GITOPS / "values.yaml"
STEPS = [
    step
    for job in yaml.safe_load((GITOPS / "workflow.yaml").read_text(encoding="utf-8"))["jobs"].values()
    for step in job["steps"]
]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GITOPS / name).read_text(encoding="utf-8")))


def test_the_chart_takes_the_values_and_makes_no_secret_that_would_change_with_each_rendering() -> None:
    made = render("-f", str(VALUES))
    assert made.names("Secret") == []
    again = render.__wrapped__("-f", str(VALUES))
    assert list(yaml.safe_load_all(again.text)) == list(yaml.safe_load_all(made.text))
    for version in ("v1", "v2"):
        assert "replicas" not in made.one("Deployment", f"detector-{version}")["spec"]


def test_argo_cd_and_flux_take_the_chart_from_where_it_lies() -> None:
    (application,) = documents("argocd-application.yaml")
    chart, deployment = application["spec"]["sources"]
    assert (ROOT / chart["path"]).samefile(CHART)
    assert chart["helm"]["valueFiles"] == [f"${deployment['ref']}/detector/values.yaml"]
    source, release = documents("flux-helmrelease.yaml")
    spec = release["spec"]["chart"]["spec"]
    assert (ROOT / spec["chart"]).samefile(CHART)
    assert spec["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert chart["targetRevision"] == source["spec"]["ref"]["tag"] == f"v{version}"


def test_commands_of_the_workflow_exist_with_their_options() -> None:
    commands = re.findall(r"(?m)^detector-grpc .*$", "\n".join(step.get("run", "") for step in STEPS))
    assert len(commands) == 2
    for command in commands:
        check_command(command)


@pytest.mark.parametrize(
    ("value", "is_distinguishable", "passes"),
    [(0.03, True, True), (-0.01, False, True), (0.0, False, True), (-0.03, True, False)],
)
def test_a_model_that_finds_less_does_not_pass(
    tmp_path: Path,
    value: float,
    is_distinguishable: bool,  # noqa: FBT001
    passes: bool,  # noqa: FBT001
) -> None:
    (line,) = (line for step in STEPS for line in step.get("run", "").splitlines() if line.startswith("jq "))
    difference = {"value": value, "interval": {"low": 0, "high": 0}, "is_distinguishable": is_distinguishable}
    (tmp_path / "report.json").write_text(json.dumps({"differences": {"mAP50-95": difference}}), encoding="utf-8")
    command = [tool("jq"), *shlex.split(line)[1:]]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (ended.returncode == 0) == passes
