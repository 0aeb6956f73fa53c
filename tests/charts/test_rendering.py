"""What the chart renders is valid, safe, and what the code understands."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.charts import CHART, CI_VALUES, NEWEST, OLDEST, helm, render, sets

from detector_grpc import settings
from detector_grpc.configured import gateway_plan
from detector_grpc.gateway.traffic import Traffic, read_traffic

if TYPE_CHECKING:
    from support.charts import Manifest, Manifests

GOLDEN = Path(__file__).parent / "golden" / "demo.yaml"

# The command in the README of the service that this one takes the place of, but for the path of the chart.
SEED = sets(
    "image.repository=your-registry/object-detection-api",
    "image.tag=v1.0.0",
    "replicaCount=3",
    "resources.limits.memory=8Gi",
    "autoscaling.enabled=true",
    "monitoring.serviceMonitor.enabled=true",
    "persistence.models.enabled=true",
    "awsCredentials.accessKeyId=AKIA...",
    "awsCredentials.secretAccessKey=secret...",
)

# Of these, the schemas of Kubernetes know nothing: they are not validated.
FOREIGN = {"GRPCRoute", "HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}

CASES = [pytest.param(("-f", str(path)), id=path.stem) for path in CI_VALUES] + [
    pytest.param(tuple(SEED), id="seed-command"),
    pytest.param((), id="defaults"),
]


@pytest.fixture(params=CASES)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return render(*request.param)


def test_helm_finds_nothing_wrong() -> None:
    ended = helm("lint", "--strict", str(CHART))
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(manifests: Manifests, version: str) -> None:
    for manifest in manifests:
        if manifest["kind"] in FOREIGN or (version == OLDEST and has_image_volume(manifest)):
            continue  # those volumes came with 1.31
        validate(json.dumps(manifest, sort_keys=True), version)


@cache
def validate(manifest: str, version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="its package is not installed here")
    kubernetes_validate.validate(json.loads(manifest), version, strict=True)


def has_image_volume(manifest: Manifest) -> bool:
    volumes = manifest.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", ())
    return any("image" in volume for volume in volumes)


def test_every_pod_is_restricted(manifests: Manifests) -> None:
    for _, pod in manifests.pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_every_name_that_is_referred_to_exists(manifests: Manifests) -> None:
    services = set(manifests.names("Service"))
    for name, pod in manifests.pods():
        mounts = {each["name"] for container in pod["containers"] for each in container.get("volumeMounts", ())}
        mounts |= {each["name"] for container in pod.get("initContainers", ()) for each in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod.get("volumes", ())}, name
        assert pod["serviceAccountName"] in manifests.names("ServiceAccount")
        for volume in pod.get("volumes", ()):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in manifests.names("ConfigMap")
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in manifests.names("PersistentVolumeClaim")
    for deployment in manifests.names("Deployment"):
        environment = manifests.environment(deployment)
        told = [environment.get(name, "") for name in ("DETECTOR_DRIFT_TARGET", "DETECTOR_SHADOW_TARGET")]
        told += environment.get("DETECTOR_GATEWAY_SERVERS", "").split(",")
        assert {address.partition(":")[0] for address in told if address} <= services


def test_every_process_understands_its_settings(manifests: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {variable for _, variable, _ in settings.variables()} | {"AWS_DEFAULT_REGION"}
    for deployment in manifests.names("Deployment"):
        environment = manifests.environment(deployment)
        assert environment.keys() <= known
        with monkeypatch.context() as patch:
            for variable in known:
                patch.delenv(variable, raising=False)
            for variable, value in environment.items():
                patch.setenv(variable, value)
            settings.load()


def test_gateway_shares_traffic_as_the_values_say(manifests: Manifests, tmp_path: Path) -> None:
    for name in manifests.names("ConfigMap"):
        if not name.endswith("-traffic"):
            continue
        file = tmp_path / "traffic.yaml"
        file.write_text(manifests.one("ConfigMap", name)["data"]["traffic.yaml"], encoding="utf-8")
        gateway = manifests.environment(name.replace("-traffic", "-gateway"))
        traffic = read_traffic(file, gateway["DETECTOR_GATEWAY_VERSIONS"].split(","))
        assert traffic is not None
        assert sum(traffic.weights.values()) == 100


def test_versions_have_pods_of_their_own_and_the_gateway_knows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    canary = render("-f", str(CHART / "ci" / "canary-values.yaml"))
    for version in ("v1", "v2", "v3"):
        environment = canary.environment(f"detector-{version}")
        assert environment["DETECTOR_MODELS_VERSIONS"] == environment["DETECTOR_MODELS_DEFAULT_VERSION"] == version
    for variable, value in canary.environment("detector-gateway").items():
        monkeypatch.setenv(variable, value)
    plan = gateway_plan(settings.load())
    assert plan.model == "yolov9"
    assert plan.versions == ("v1", "v2", "v3")
    assert plan.servers == ("detector-v1:50051", "detector-v2:50051", "detector-v3:50051")
    assert plan.drift == "detector-drift:50040"


def test_other_weights_change_one_config_map_and_no_pod(tmp_path: Path) -> None:
    common = sets("streams.existingSecret=key")
    before, after = (
        {(each["kind"], each["metadata"]["name"]): each for each in render(*common, *more)}
        for more in ((), sets("traffic.weights.v1=80", "traffic.weights.v2=20", "traffic.shadow.v2=10"))
    )
    changed = [name for name, manifest in after.items() if before[name] != manifest]
    assert changed == [("ConfigMap", "detector-traffic")]
    file = tmp_path / "traffic.yaml"
    file.write_text(after["ConfigMap", "detector-traffic"]["data"]["traffic.yaml"], encoding="utf-8")
    assert read_traffic(file, ("v1", "v2")) == Traffic({"v1": 80, "v2": 20}, {"v2": 0.1})


def test_other_settings_make_pods_start_anew() -> None:
    before, after = (
        render(*sets("streams.existingSecret=key", *more)).one("Deployment", "detector-v1")
        for more in ((), ("settings.DETECTOR_LIMITS_MAX_QUEUE=7",))
    )
    annotation = "checksum/settings"
    templates = [each["spec"]["template"]["metadata"]["annotations"][annotation] for each in (before, after)]
    assert templates[0] != templates[1]


def test_pods_live_longer_than_they_drain(manifests: Manifests) -> None:
    for name, pod in manifests.pods():
        (first, *_) = pod["containers"]
        if first["name"] in ("server", "gateway"):
            drains = manifests.environment(name)
            needed = sum(float(drains[f"DETECTOR_SERVER_{each}_S"]) for each in ("DRAIN_WAIT", "GRACE"))
            assert pod["terminationGracePeriodSeconds"] >= needed + 10


def test_the_command_of_the_seed_still_installs_what_it_did() -> None:
    seed = render(*SEED, release="object-detection-api")

    service = seed.one("Service", "object-detection-api")
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    secret = seed.one("Secret", "object-detection-api-aws-credentials")
    assert secret["stringData"] == {"AWS_ACCESS_KEY_ID": "AKIA...", "AWS_SECRET_ACCESS_KEY": "secret..."}
    for version in ("v1", "v2"):
        deployment = seed.one("Deployment", f"object-detection-api-{version}")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "your-registry/object-detection-api:v1.0.0"
        assert container["resources"]["limits"]["memory"] == "8Gi"
        scaler = seed.one("HorizontalPodAutoscaler", f"object-detection-api-{version}")
        assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 10)
    assert seed.one("PersistentVolumeClaim", "object-detection-api-models")
    assert seed.names("ServiceMonitor") == ["object-detection-api"]


def test_nothing_has_changed_unseen() -> None:
    """The golden manifests: `helm template` of `ci/demo-values.yaml`. If a change is meant, write them anew."""
    text = render("-f", str(CHART / "ci" / "demo-values.yaml")).text
    assert list(yaml.safe_load_all(text)) == list(yaml.safe_load_all(GOLDEN.read_text(encoding="utf-8")))


def test_a_pod_that_keeps_samples_gets_its_credentials_by_reference() -> None:
    own = sets("capture.sink=s3", "awsCredentials.existingSecret=aws")
    (container,) = render(*own).one("Deployment", "detector-v1")["spec"]["template"]["spec"]["containers"]
    references: dict[str, Any] = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each
    }
    assert references == {name: {"name": "aws", "key": name} for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert render(*own).names("Secret") == ["detector-resume-key"]
