"""The compose file runs as it is, but for images of others that no registry need be there for: `make test-images`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support.charts import ROOT
from support.forms import FORM, form
from support.podman import BASE, IMAGES, free_port, wait_until
from support.rest import Rest
from support.servers import BUNDLED_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.podman import Podman

pytestmark = pytest.mark.timeout(3600)

PICTURE = form(("file", (BUNDLED_MODELS.parent / "pictures" / "desk.jpg").read_bytes()))
DASHBOARDS = sorted((ROOT / "monitoring" / "dashboards").glob("*.json"))
STAND_INS = {"rclone": "stand-in/rclone:1.75.2", "prometheus": "stand-in/prometheus:2.42.0"}

# What only Kubernetes and NVIDIA tell; and what nobody tells before something is wrong, or before thousands of
# pictures are known.
ELSEWHERE = re.compile(r"\b(?:DCGM_FI_|container_|kube_)")
LATER = re.compile(r"\b(?:ALERTS|active_learning_faults_total|data_drift_feature_)")


class Stack:
    """All services, and where two of them are reached."""

    def __init__(self, podman: Podman) -> None:
        tool = shutil.which("podman-compose", path=str(ROOT / ".tools/compose/bin")) or shutil.which("podman-compose")
        if tool is None:
            pytest.skip("there is no podman-compose here; `make image-tools` gets it")
        files = ("docker-compose.yaml", "tests/images/docker-compose.stand-ins.yaml")
        self._command = [tool, "--in-pod=false", *(word for file in files for word in ("--file", file))]
        gateway, prometheus, grafana = (free_port() for _ in range(3))
        self._environment = podman.environment | {
            "COMPOSE_PROJECT_NAME": f"stack-{os.getpid()}",
            "GATEWAY_PORT": str(gateway),
            "GRAFANA_PORT": str(grafana),
            "PROMETHEUS_PORT": str(prometheus),
            "UNCERTAINTY_THRESHOLD": "1",  # every picture is kept
        }
        self.gateway = f"127.0.0.1:{gateway}"
        self.prometheus = f"127.0.0.1:{prometheus}"

    def __call__(self, *arguments: str) -> str:
        """What podman-compose prints."""
        command = [*self._command, *arguments]
        done = subprocess.run(command, env=self._environment, cwd=ROOT, check=False, text=True, capture_output=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def predict(self, path: str) -> tuple[int, Any]:
        """Status and answer of a call by REST."""
        with closing(Rest(self.gateway)) as rest:
            answer = rest("POST", path, PICTURE, FORM)
            return answer.status, answer.json

    def health(self) -> int:
        try:
            with closing(Rest(self.gateway)) as rest:
                return rest("GET", "/health").status
        except OSError:
            return 0

    def ask_prometheus(self, path: str) -> Any:
        try:
            with closing(Rest(self.prometheus)) as rest:
                return rest("GET", f"/api/v1/{path}").json["data"]
        except OSError:
            return {}

    def has_data(self, query: str) -> bool:
        return bool(self.ask_prometheus(f"query?query={quote(query)}").get("result"))

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire, and of which target."""
        alerts = self.ask_prometheus("alerts").get("alerts", [])
        return {
            (each["labels"]["alertname"], each["labels"].get("instance", ""))
            for each in alerts
            if each["state"] == "firing"
        }


@pytest.fixture(scope="module")
def stack(podman: Podman) -> Iterator[Stack]:
    assert podman.has(BASE)
    for target, image in STAND_INS.items():
        podman(
            "build", "--network=host", f"--target={target}", f"--tag={image}",
            f"--file={IMAGES / 'stand-ins.Dockerfile'}", "--ignorefile=/dev/null", ".",
        )  # fmt: skip
    stack = Stack(podman)
    try:
        stack("up", "--detach")
        wait_until(lambda: stack.health() == 200, "the gateway is ready")
        yield stack
    finally:
        stack("down", "--volumes")


def test_both_versions_answer_through_envoy(stack: Stack) -> None:
    for version in ("v1", "v2"):
        wait_until(lambda path=f"/{version}/predict": stack.predict(path)[0] == 200, version)
        _, answer = stack.predict(f"/{version}/predict")
        assert answer["version"] == version
        assert answer["detections"]


def test_weights_are_changed_from_the_container_of_the_pages(stack: Stack) -> None:
    stack("exec", "-T", "pages", "detector-grpc", "traffic", "set", "v1=0", "v2=100")
    wait_until(lambda: stack.predict("/predict")[1].get("version") == "v2", "v2 answers")
    stack("exec", "-T", "pages", "detector-grpc", "traffic", "set", "v1=100", "v2=0")
    wait_until(lambda: stack.predict("/predict")[1].get("version") == "v1", "v1 answers")


def test_samples_come_to_the_store(stack: Stack) -> None:
    stack.predict("/v1/predict")
    wait_until(
        lambda: "codes" in stack("exec", "-T", "server-v1", "detector-grpc", "samples", "list"), "a sample is there"
    )


def test_prometheus_scrapes_all_targets(stack: Stack) -> None:
    def healths() -> dict[str, str]:
        targets = stack.ask_prometheus("targets").get("activeTargets", [])
        return {each["labels"]["instance"]: each["health"] for each in targets}

    wait_until(lambda: set(healths().values()) == {"up"}, "all targets are up")
    ours = {"server-v1:9464", "server-v2:9464", "drift:9463", "envoy:9462"}
    assert set(healths()) == ours | {"localhost:9090"}


def test_dashboards_have_data(stack: Stack) -> None:
    stack("exec", "-T", "pages", "detector-grpc", "traffic", "shadow", "v2=100%")
    asked = {query for file in DASHBOARDS for query in queries(json.loads(file.read_text(encoding="utf-8")))}
    asked -= set(filter(LATER.search, asked))
    empty = set(asked)

    def all_answer() -> bool:
        for path in ("/predict", "/v2/predict"):
            stack.predict(path)
        empty.difference_update([query for query in empty if stack.has_data(query)])
        return not empty

    wait_until(all_answer, "all queries have data")
    assert len(asked) > 30
    stack("exec", "-T", "pages", "detector-grpc", "traffic", "shadow", "v2=0%")


def test_alert_fires_when_a_server_is_killed_and_resolves_when_it_is_back(stack: Stack) -> None:
    alert = ("ServerDown", "server-v1:9464")
    wait_until(lambda: alert not in stack.firing(), "nothing is wrong")
    stack("kill", "server-v1")
    wait_until(lambda: alert in stack.firing(), "the alert fires")
    assert stack.predict("/v2/predict")[0] == 200
    stack("start", "server-v1")
    wait_until(lambda: alert not in stack.firing(), "the alert resolves")
    wait_until(lambda: stack.predict("/v1/predict")[0] == 200, "the server answers again")


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """What its panels ask, with all that can be chosen chosen."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            if not ELSEWHERE.search(target["expr"]):
                yield re.sub(r"\$(namespace|model)\b", ".*", target["expr"].replace("$__rate_interval", "2m"))
