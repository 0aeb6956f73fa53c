"""What the chart renders runs as pods, is probed, and follows the weights of its ConfigMap: `make test-images`."""

from __future__ import annotations

import base64
import json
import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml
from support.calls import SERVING, connected
from support.charts import CHART, render, sets
from support.load import Load
from support.podman import DRIFT, SERVER, STANDALONE, wait_until
from support.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.charts import Manifest
    from support.podman import Podman

pytestmark = pytest.mark.timeout(3600)

PODS = ("detector-drift", "detector-v1", "detector-v2", "detector-gateway")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
CALLS = 1000


@dataclass(frozen=True)
class Pod:
    """A pod that runs.

    Attributes:
        host: Its address.
        container: As rendered; each has one.
    """

    host: str
    container: Manifest

    def answers(self, probe: str) -> bool:
        """Asks as Kubernetes does."""
        handler = self.container[probe]
        try:
            if "grpc" in handler:
                address = f"{self.host}:{handler['grpc']['port']}"
                with connected(address) as client:
                    return client.status(handler["grpc"].get("service", "")) == SERVING
            ports = {each["name"]: each["containerPort"] for each in self.container["ports"]}
            asked = handler["httpGet"]
            with closing(Rest(f"{self.host}:{ports[asked['port']]}")) as rest:
                return rest("GET", asked["path"]).status == 200
        except (OSError, grpc.RpcError):
            return False


class Cluster:
    """All pods.

    Args:
        pods: By name.
        traffic: The ConfigMap with the weights, as it is mounted.

    Attributes:
        pods: By name.
        address: The gateway's.
    """

    def __init__(self, pods: dict[str, Pod], traffic: Path) -> None:
        self.pods = pods
        self.address = f"{pods['detector-gateway'].host}:8000"
        self._traffic = traffic

    def rewrite(self, weights: dict[str, int]) -> None:
        """As a kubelet does: into a new folder, to which one link is moved at once."""
        folder = self._traffic / f"..{'-'.join(f'{version}{weight}' for version, weight in weights.items())}"
        folder.mkdir()
        (folder / "traffic.yaml").write_text(yaml.safe_dump({"weights": weights, "shadow": {}}), encoding="utf-8")
        link(self._traffic / "..data", folder.name)
        link(self._traffic / "traffic.yaml", "..data/traffic.yaml")


def link(path: Path, target: str) -> None:
    """Makes a link, in place of what there is."""
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.symlink_to(target)
    fresh.replace(path)


@pytest.fixture(scope="module")
def cluster(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    rendered = render("--values", str(CHART / "ci" / "demo-values.yaml"), *sets(*images()))
    folder = tmp_path_factory.mktemp("manifests")
    network = f"pods-{os.getpid()}"
    key = base64.b64encode(b"a secret of this test").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "resume-key"}, "data": {"resume-key": key}}
    with ExitStack() as stack:
        podman("network", "create", network)
        stack.callback(podman, "network", "rm", "--force", network)
        podman("kube", "play", written(folder, "secret", [secret]))
        stack.callback(podman, "secret", "rm", "resume-key")
        configured = [each for each in rendered if each["kind"] == "ConfigMap"]
        pods = {}
        for name in PODS:
            template = rendered.one("Deployment", name)["spec"]["template"]
            file = written(folder, name, [*configured, as_podman_can(name, template)])
            stack.callback(remove, podman, name, template)
            # The name of its Service.
            podman("kube", "play", f"--network={network}:alias={name}", file)
            (container,) = template["spec"]["containers"]
            pods[name] = Pod(address(podman, f"{name}-{container['name']}", network), container)
        mounted = podman("volume", "inspect", "--format={{.Mountpoint}}", "detector-traffic").strip()
        yield Cluster(pods, Path(mounted))


def images() -> list[str]:
    """Values by which each pod has the image that is made for it."""
    repository, tag = SERVER.rsplit(":", 1)
    tags = {"image": tag, "gateway.image": STANDALONE.rsplit(":", 1)[1], "drift.image": DRIFT.rsplit(":", 1)[1]}
    return [
        f"{place}.{key}={value}"
        for place, tag in tags.items()
        for key, value in (("repository", repository), ("tag", tag))
    ]


def as_podman_can(name: str, template: Manifest) -> Manifest:
    """A pod, where podman 4.3 differs from Kubernetes.

    Ports would be published, volumes of one name shared by pods, and a Secret's volume must say whether it is optional.
    """
    specification = json.loads(json.dumps(template["spec"]))
    own = {each["name"]: f"{name}-{each['name']}" for each in specification["volumes"] if "emptyDir" in each}
    for each in specification["volumes"]:
        each["name"] = own.get(each["name"], each["name"])
        if "secret" in each:
            each["secret"]["optional"] = False
    for container in specification["containers"]:
        del container["ports"]
        for each in container["volumeMounts"]:
            each["name"] = own.get(each["name"], each["name"])
    labels = template["metadata"]["labels"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": specification}


def remove(podman: Podman, name: str, template: Manifest) -> None:
    """Takes a pod away, and what was mounted in it."""
    podman("pod", "rm", "--force", "--time=60", name)
    for each in template["spec"]["volumes"]:
        shared = each.get("configMap", {}).get("name") or each.get("secret", {}).get("secretName")
        podman("volume", "rm", "--force", shared or f"{name}-{each['name']}", check=False)


def written(folder: Path, name: str, manifests: list[Manifest]) -> str:
    """A file of manifests."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(manifests), encoding="utf-8")
    return str(file)


def address(podman: Podman, container: str, network: str) -> str:
    """Where a container is reached."""
    found: Any = json.loads(podman("inspect", "--format={{json .NetworkSettings.Networks}}", container))
    return str(found[network]["IPAddress"])


@pytest.mark.parametrize("name", PODS)
def test_probes_are_answered(cluster: Cluster, name: str) -> None:
    for probe in PROBES:
        wait_until(lambda probe=probe: cluster.pods[name].answers(probe), f"{probe} of {name}")


def test_no_call_fails_while_the_weights_of_the_config_map_change(cluster: Cluster) -> None:
    wait_until(lambda: cluster.pods["detector-gateway"].answers("readinessProbe"), "the gateway is ready")
    with Load(cluster, CALLS) as load:
        for weights in ({"v1": 50, "v2": 50}, {"v2": 100}):
            before = load.answered["grpc", "v2"], load.answered["rest", "v2"]
            cluster.rewrite(weights)
            wait_until(
                lambda before=before: (
                    load.answered["grpc", "v2"] > before[0] and load.answered["rest", "v2"] > before[1]
                ),
                f"v2 answers by {weights}",
            )
        v1 = load.answered["grpc", "v1"]
        cluster.rewrite({"v1": 100})
        wait_until(lambda: load.answered["grpc", "v1"] > v1 + 10, "v1 answers")
    assert load.failed.total() == 0, load
    assert load.total >= CALLS
