"""Every documented value does what it says, and wrong ones are refused by name."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.charts import ROOT, refusal, render, sets

if TYPE_CHECKING:
    from types import ModuleType


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("charts_generate", ROOT / "charts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCUMENTED = {value.path for value in _generator().values()}

V1 = "Deployment/detector-v1"
POD = f"{V1}/spec/template/spec"
SERVER = f"{POD}/containers/0"
GATEWAY = "Deployment/detector-gateway/spec/template/spec"
DRIFT = "Deployment/detector-drift/spec/template/spec"
HPA = "HorizontalPodAutoscaler/detector-v1/spec"
SCALED = "ScaledObject/detector-v1/spec"
SCALING = ("autoscaling.enabled=true",)
KEDA = (*SCALING, "autoscaling.keda.enabled=true", "autoscaling.targetQueueDepth=3")
NO_CLAIM = ("persistence.models.enabled=false",)
S3 = ("capture.sink=s3",)
KEYS = (*S3, "awsCredentials.accessKeyId=a", "awsCredentials.secretAccessKey=b")
INGRESS = ("ingress.enabled=true",)
ROUTES = ("gatewayAPI.enabled=true", "gatewayAPI.parentRefs[0].name=public")
MONITOR = ("monitoring.serviceMonitor.enabled=true",)
RULES = ("monitoring.prometheusRule.enabled=true",)
BOARDS = ("monitoring.dashboards.enabled=true",)
BOARD = "ConfigMap/detector-dashboard-overview"
DIGEST = f"sha256:{'a' * 64}"
DOWNLOAD = ("models.download[0].url=https://a.b/c", "models.download[0].path=m/v1/model.onnx")
NONE = object()  # there is no such thing

# For each value: how it is set, and what that makes of something in the manifests, by its path.
EFFECTS: dict[str, tuple[tuple[str, ...], str, Any]] = {
    "fullnameOverride": (("fullnameOverride=eyes",), "Service/eyes/spec/ports/0/port", 80),
    "image.repository": (("image.repository=r/i",), f"{SERVER}/image", "r/i:0.1.0"),
    "image.tag": (("image.tag=7",), f"{SERVER}/image", "detector-grpc:7"),
    "image.digest": ((f"image.digest={DIGEST}",), f"{SERVER}/image", f"detector-grpc:0.1.0@{DIGEST}"),
    "image.pullPolicy": (("image.pullPolicy=Always",), f"{SERVER}/imagePullPolicy", "Always"),
    "image.pullSecrets": (("image.pullSecrets={a}",), f"{POD}/imagePullSecrets", [{"name": "a"}]),
    "model": (("model=street",), "ConfigMap/detector-settings/data/DETECTOR_MODELS_DEFAULT_MODEL", "street"),
    "versions": (("versions.v3.replicaCount=5",), "Deployment/detector-v3/spec/replicas", 5),
    "traffic.weights": (
        ("traffic.weights.v1=0", "traffic.weights.v2=100"),
        "ConfigMap/detector-traffic/data/traffic.yaml",
        "weights:\n  v2: 100\nshadow: {}\n",
    ),
    "traffic.shadow": (
        ("traffic.shadow.v2=5",),
        "ConfigMap/detector-traffic/data/traffic.yaml",
        "weights:\n  v1: 100\nshadow:\n  v2: 0.05\n",
    ),
    "demo": (("demo=true", *NO_CLAIM), f"{SERVER}/env/DETECTOR_DEMO", "true"),
    "replicaCount": (("replicaCount=4",), f"{V1}/spec/replicas", 4),
    "resources": (("resources.limits.cpu=3",), f"{SERVER}/resources/limits/cpu", 3),
    "provider": (
        ("provider=OpenVINOExecutionProvider",),
        f"{SERVER}/env/DETECTOR_RUNTIME_PROVIDER",
        "OpenVINOExecutionProvider",
    ),
    "file": (("versions.v1.file=a.onnx",), f"{SERVER}/env/MODEL_V1_PATH", "/app/models/a.onnx"),
    "settings": (
        ("settings.DETECTOR_LIMITS_MAX_MESSAGE_BYTES=33554432",),
        "ConfigMap/detector-settings/data/DETECTOR_LIMITS_MAX_MESSAGE_BYTES",
        "33554432",
    ),
    "logLevel": (("logLevel=debug",), "ConfigMap/detector-settings/data/LOG_LEVEL", "debug"),
    "drain.waitSeconds": (("drain.waitSeconds=9",), f"{POD}/terminationGracePeriodSeconds", 39),
    "drain.graceSeconds": (("drain.graceSeconds=50",), f"{POD}/terminationGracePeriodSeconds", 65),
    "rollout.maxSurge": (
        ("rollout.maxSurge=0",),
        f"{V1}/spec/strategy/rollingUpdate",
        {"maxSurge": 0, "maxUnavailable": 1},
    ),
    "nodeSelector": (("nodeSelector.gpu=yes",), f"{POD}/nodeSelector", {"gpu": "yes"}),
    "tolerations": (("tolerations[0].operator=Exists",), f"{POD}/tolerations", [{"operator": "Exists"}]),
    "affinity": (("affinity.nodeAffinity.a=b",), f"{POD}/affinity", {"nodeAffinity": {"a": "b"}}),
    "podAntiAffinity": (("podAntiAffinity=none",), f"{POD}/affinity", NONE),
    "topologySpreadConstraints": (
        ("topologySpreadConstraints[0].topologyKey=rack",),
        f"{POD}/topologySpreadConstraints",
        [{"topologyKey": "rack"}],
    ),
    "priorityClassName": (("priorityClassName=high",), f"{POD}/priorityClassName", "high"),
    "runtimeClassName": (("runtimeClassName=nvidia",), f"{POD}/runtimeClassName", "nvidia"),
    "podAnnotations": (("podAnnotations.a=b",), f"{V1}/spec/template/metadata/annotations/a", "b"),
    "podLabels": (("podLabels.a=b",), f"{V1}/spec/template/metadata/labels/a", "b"),
    "runAsUser": (("runAsUser=null",), f"{POD}/securityContext/runAsUser", NONE),
    "fsGroup": (("fsGroup=7",), f"{POD}/securityContext/fsGroup", 7),
    "models.pollSeconds": (("models.pollSeconds=30",), f"{SERVER}/env/DETECTOR_MODELS_POLL_S", "30"),
    "models.image": (("models.image=r/m:1",), f"{POD}/volumes/models/image/reference", "r/m:1"),
    "models.download": (
        (*DOWNLOAD, f"models.download[0].sha256={'a' * 64}"),
        f"{POD}/initContainers/0/command/0",
        "python3",
    ),
    "models.volume": (("models.volume.nfs.path=/m",), f"{POD}/volumes/models/nfs", {"path": "/m"}),
    "persistence.models.enabled": (("demo=true", *NO_CLAIM), "PersistentVolumeClaim/detector-models", NONE),
    "persistence.models.size": (
        ("persistence.models.size=3Gi",),
        "PersistentVolumeClaim/detector-models/spec/resources/requests/storage",
        "3Gi",
    ),
    "persistence.models.accessMode": (
        ("persistence.models.accessMode=ReadOnlyMany",),
        "PersistentVolumeClaim/detector-models/spec/accessModes",
        ["ReadOnlyMany"],
    ),
    "persistence.models.storageClass": (
        ("persistence.models.storageClass=efs",),
        "PersistentVolumeClaim/detector-models/spec/storageClassName",
        "efs",
    ),
    "persistence.models.existingClaim": (
        ("persistence.models.existingClaim=mine",),
        f"{POD}/volumes/models/persistentVolumeClaim/claimName",
        "mine",
    ),
    "persistence.drift.enabled": (("persistence.drift.enabled=false",), f"{DRIFT}/volumes/data/emptyDir", {}),
    "persistence.drift.size": (
        ("persistence.drift.size=2Gi",),
        "PersistentVolumeClaim/detector-drift/spec/resources/requests/storage",
        "2Gi",
    ),
    "persistence.drift.storageClass": (
        ("persistence.drift.storageClass=ssd",),
        "PersistentVolumeClaim/detector-drift/spec/storageClassName",
        "ssd",
    ),
    "persistence.drift.existingClaim": (
        ("persistence.drift.existingClaim=mine",),
        f"{DRIFT}/volumes/data/persistentVolumeClaim/claimName",
        "mine",
    ),
    "autoscaling.enabled": (SCALING, f"{V1}/spec/replicas", NONE),
    "autoscaling.minReplicas": ((*SCALING, "autoscaling.minReplicas=3"), f"{HPA}/minReplicas", 3),
    "autoscaling.maxReplicas": ((*SCALING, "versions.v1.autoscaling.maxReplicas=30"), f"{HPA}/maxReplicas", 30),
    "autoscaling.targetCPUUtilizationPercentage": (
        (*SCALING, "autoscaling.targetCPUUtilizationPercentage=50"),
        f"{HPA}/metrics/0/resource/target/averageUtilization",
        50,
    ),
    "autoscaling.targetQueueDepth": (
        (*SCALING, "autoscaling.targetQueueDepth=3"),
        f"{HPA}/metrics/1/pods",
        {
            "metric": {"name": "object_detection_queue_depth"},
            "target": {"type": "AverageValue", "averageValue": "3"},
        },
    ),
    "autoscaling.scaleDownSeconds": (
        (*SCALING, "autoscaling.scaleDownSeconds=60"),
        f"{HPA}/behavior/scaleDown/stabilizationWindowSeconds",
        60,
    ),
    "autoscaling.keda.enabled": (
        KEDA,
        f"{SCALED}/triggers/1/metadata/query",
        'sum(object_detection_queue_depth{namespace="vision",service="detector-v1"})',
    ),
    "autoscaling.keda.serverAddress": (
        (*KEDA, "autoscaling.keda.serverAddress=http://p:9090"),
        f"{SCALED}/triggers/1/metadata/serverAddress",
        "http://p:9090",
    ),
    "podDisruptionBudget.enabled": (("podDisruptionBudget.enabled=false",), "PodDisruptionBudget/detector-v1", NONE),
    "podDisruptionBudget.maxUnavailable": (
        ("podDisruptionBudget.maxUnavailable=20%",),
        "PodDisruptionBudget/detector-v1/spec/maxUnavailable",
        "20%",
    ),
    "gateway.enabled": (("gateway.enabled=false",), "Deployment/detector-gateway", NONE),
    "gateway.replicaCount": (("gateway.replicaCount=3",), "Deployment/detector-gateway/spec/replicas", 3),
    "gateway.image": (("gateway.image.tag=all",), f"{GATEWAY}/containers/0/image", "detector-grpc:all"),
    "gateway.resources": (
        ("gateway.resources.limits.cpu=4",),
        f"{GATEWAY}/containers/0/resources/limits/cpu",
        4,
    ),
    "gateway.maxMemoryBytes": (
        ("gateway.maxMemoryBytes=536870912",),
        f"{GATEWAY}/containers/0/env/DETECTOR_GATEWAY_MAX_MEMORY_BYTES",
        "536870912",
    ),
    "gateway.failover": (("gateway.failover=true",), f"{GATEWAY}/containers/0/env/DETECTOR_GATEWAY_FAILOVER", "true"),
    "gateway.corsOrigins": (
        ("gateway.corsOrigins={https://a,https://b}",),
        f"{GATEWAY}/containers/0/env/DETECTOR_GATEWAY_CORS_ORIGINS",
        "https://a,https://b",
    ),
    "gateway.requestTimeoutSeconds": (
        ("gateway.requestTimeoutSeconds=2.5",),
        f"{GATEWAY}/containers/0/env/DETECTOR_GATEWAY_REQUEST_TIMEOUT_S",
        "2.5",
    ),
    "gateway.tls.existingSecret": (
        ("gateway.tls.existingSecret=pem",),
        f"{GATEWAY}/containers/0/readinessProbe/httpGet/scheme",
        "HTTPS",
    ),
    "gateway.nodeSelector": (("gateway.nodeSelector.a=b",), f"{GATEWAY}/nodeSelector", {"a": "b"}),
    "gateway.tolerations": (("gateway.tolerations[0].key=a",), f"{GATEWAY}/tolerations", [{"key": "a"}]),
    "service.type": (("service.type=LoadBalancer",), "Service/detector/spec/type", "LoadBalancer"),
    "service.port": (("service.port=81",), f"{SERVER}/env/DETECTOR_SHADOW_TARGET", "detector:81"),
    "service.annotations": (("service.annotations.a=b",), "Service/detector/metadata/annotations", {"a": "b"}),
    "drift.enabled": (("drift.enabled=false",), "ConfigMap/detector-settings/data/DETECTOR_DRIFT_TARGET", NONE),
    "drift.image": (("drift.image.repository=r/d",), f"{DRIFT}/containers/0/image", "r/d:0.1.0"),
    "drift.resources": (("drift.resources.requests.cpu=1",), f"{DRIFT}/containers/0/resources/requests/cpu", 1),
    "capture.sink": (S3, "ConfigMap/detector-settings/data/DETECTOR_CAPTURE_SINK", "s3"),
    "capture.bucket": ((*S3, "capture.bucket=mine"), f"{SERVER}/env/S3_BUCKET_NAME", "mine"),
    "capture.uncertaintyThreshold": (
        ("capture.uncertaintyThreshold=0.5",),
        f"{SERVER}/env/UNCERTAINTY_THRESHOLD",
        "0.5",
    ),
    "capture.s3.endpoint": (
        (*S3, "capture.s3.endpoint=http://s3:9000"),
        f"{SERVER}/env/DETECTOR_CAPTURE_S3_ENDPOINT",
        "http://s3:9000",
    ),
    "capture.s3.prefix": ((*S3, "capture.s3.prefix=a/"), f"{SERVER}/env/DETECTOR_CAPTURE_S3_PREFIX", "a/"),
    "capture.spoolSize": ((*S3, "capture.spoolSize=4Gi"), f"{POD}/volumes/spool/emptyDir/sizeLimit", "4Gi"),
    "awsCredentials.existingSecret": (
        (*S3, "awsCredentials.existingSecret=mine"),
        f"{SERVER}/env/AWS_ACCESS_KEY_ID",
        {"secretKeyRef": {"name": "mine", "key": "AWS_ACCESS_KEY_ID"}},
    ),
    "awsCredentials.accessKeyId": (KEYS, "Secret/detector-aws-credentials/stringData/AWS_ACCESS_KEY_ID", "a"),
    "awsCredentials.secretAccessKey": (KEYS, "Secret/detector-aws-credentials/stringData/AWS_SECRET_ACCESS_KEY", "b"),
    "awsCredentials.region": ((*S3, "awsCredentials.region=eu"), f"{SERVER}/env/AWS_DEFAULT_REGION", "eu"),
    "auth.existingSecret": (("auth.existingSecret=who",), f"{POD}/volumes/auth/secret/secretName", "who"),
    "streams.existingSecret": (
        ("streams.existingSecret=key",),
        f"{POD}/volumes/resume-key/secret/secretName",
        "key",
    ),
    "serviceAccount.create": (("serviceAccount.create=false",), "ServiceAccount/detector", NONE),
    "serviceAccount.name": (("serviceAccount.name=mine",), f"{POD}/serviceAccountName", "mine"),
    "serviceAccount.annotations": (
        ("serviceAccount.annotations.a=b",),
        "ServiceAccount/detector/metadata/annotations",
        {"a": "b"},
    ),
    "networkPolicy.enabled": (("networkPolicy.enabled=false",), "NetworkPolicy/detector-server", NONE),
    "networkPolicy.from": (
        ("networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8",),
        "NetworkPolicy/detector-gateway/spec/ingress/0/from/0",
        {"ipBlock": {"cidr": "10.0.0.0/8"}},
    ),
    "networkPolicy.metricsFrom": (
        ("networkPolicy.metricsFrom[0].ipBlock.cidr=10.0.0.0/8",),
        "NetworkPolicy/detector-server/spec/ingress/1/from/0",
        {"ipBlock": {"cidr": "10.0.0.0/8"}},
    ),
    "networkPolicy.extraEgress": (
        ("networkPolicy.extraEgress[0].ports[0].port=9000",),
        "NetworkPolicy/detector-server/spec/egress/2",
        {"ports": [{"port": 9000}]},
    ),
    "ingress.enabled": (INGRESS, "Ingress/detector/spec/rules/0/host", "detector.example.org"),
    "ingress.className": ((*INGRESS, "ingress.className=nginx"), "Ingress/detector/spec/ingressClassName", "nginx"),
    "ingress.annotations": (
        (*INGRESS, "ingress.annotations.a=b"),
        "Ingress/detector/metadata/annotations",
        {"a": "b"},
    ),
    "ingress.hosts": ((*INGRESS, "ingress.hosts={a.org}"), "Ingress/detector/spec/rules/0/host", "a.org"),
    "ingress.tlsSecret": ((*INGRESS, "ingress.tlsSecret=pem"), "Ingress/detector/spec/tls/0/secretName", "pem"),
    "gatewayAPI.enabled": (ROUTES, "HTTPRoute/detector/spec/rules/0/backendRefs/0/port", 80),
    "gatewayAPI.parentRefs": (ROUTES, "GRPCRoute/detector/spec/parentRefs", [{"name": "public"}]),
    "gatewayAPI.hostnames": (
        (*ROUTES, "gatewayAPI.hostnames={a.org}"),
        "GRPCRoute/detector/spec/hostnames",
        ["a.org"],
    ),
    "monitoring.serviceMonitor.enabled": (MONITOR, "ServiceMonitor/detector/spec/endpoints/0/port", "metrics"),
    "monitoring.serviceMonitor.interval": (
        (*MONITOR, "monitoring.serviceMonitor.interval=1m"),
        "ServiceMonitor/detector/spec/endpoints/0/interval",
        "1m",
    ),
    "monitoring.serviceMonitor.labels": (
        (*MONITOR, "monitoring.serviceMonitor.labels.a=b"),
        "ServiceMonitor/detector/metadata/labels/a",
        "b",
    ),
    "monitoring.prometheusRule.enabled": (RULES, "PrometheusRule/detector/metadata/name", "detector"),
    "monitoring.prometheusRule.labels": (
        (*RULES, "monitoring.prometheusRule.labels.a=b"),
        "PrometheusRule/detector/metadata/labels/a",
        "b",
    ),
    "monitoring.prometheusRule.runbookUrl": (
        (*RULES, "monitoring.prometheusRule.runbookUrl=https://a.org/r"),
        "PrometheusRule/detector/spec/groups/0/rules/0/annotations/runbook_url",
        re.compile(r"https://a\.org/r#\w+"),
    ),
    "monitoring.dashboards.enabled": (BOARDS, f"{BOARD}/data/overview.json", re.compile(r"\{.*", re.DOTALL)),
    "monitoring.dashboards.labels": ((*BOARDS, "monitoring.dashboards.labels.a=b"), f"{BOARD}/metadata/labels/a", "b"),
}


def test_every_documented_value_has_a_test_and_no_other() -> None:
    assert EFFECTS.keys() == DOCUMENTED


@pytest.mark.parametrize("value", sorted(EFFECTS))
def test_a_value_does_what_it_says(value: str) -> None:
    own, path, expected = EFFECTS[value]
    with_it, without_it = (found(render(*sets(*each)), path) for each in (own, ()))
    if isinstance(expected, re.Pattern):
        assert expected.fullmatch(with_it)
    else:
        assert with_it == expected
    assert with_it != without_it


def found(manifests: Any, path: str) -> Any:
    """What is at a path that begins with kind and name; of variables and volumes, what is of that name."""
    kind, name, *steps = path.split("/")
    places = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    place: Any = places[0] if places else NONE
    while steps and place is not NONE:
        step = steps.pop(0)
        if isinstance(place, list) and not step.isdecimal():
            named = [each for each in place if each["name"] == step]
            place = named[0].get("value", named[0].get("valueFrom", named[0])) if named else NONE
        elif isinstance(place, list):
            place = place[int(step)] if int(step) < len(place) else NONE
        else:
            place = place.get(step, NONE)
    return place


REFUSED = {
    "an unknown key": (("replicas=3",), ["replicas"]),
    "an unknown key of a version": (("versions.v1.replicas=3",), ["versions.v1", "replicas"]),
    "a name that no object can have": (("versions.V1.replicaCount=1",), ["V1"]),
    "a setting that there is not": (("settings.DETECTOR_GPU_MAXBATCH=3",), ["DETECTOR_GPU_MAXBATCH"]),
    "a setting that the chart owns": (("settings.DETECTOR_SERVER_HOST=::",), ["DETECTOR_SERVER_HOST"]),
    "weights that are no 100": (("traffic.weights.v1=80",), ["traffic.weights: they must be 100 together, got 80"]),
    "a weight beyond 100": (("traffic.weights.v1=101",), ["traffic.weights.v1"]),
    "a weight that is no number": (("traffic.weights.v1=most",), ["traffic.weights.v1"]),
    "a weight of nobody": (
        ("traffic.weights.v1=0", "traffic.weights.v9=100"),
        ["traffic.weights.v9: there is no such version; there are v1, v2"],
    ),
    "a shadow of nobody": (("traffic.shadow.v9=1",), ["traffic.shadow.v9"]),
    "a shadow through TLS": (
        ("traffic.shadow.v2=1", "gateway.tls.existingSecret=pem"),
        ["traffic.shadow: servers send copies to the gateway"],
    ),
    "GPUs without GPUs": (("provider=CUDAExecutionProvider",), ["provider", "nvidia.com/gpu in resources.limits"]),
    "one node's volume for several": (
        ("persistence.models.accessMode=ReadWriteOnce",),
        ["persistence.models.accessMode: up to 4 pods", "ReadWriteMany", "models.image", "nodeSelector"],
    ),
    "no models": (NO_CLAIM, ["models: there are none"]),
    "models from two places": (
        ("models.image=a", "models.volume.nfs.path=b"),
        ["only one of models.image, models.volume"],
    ),
    "half of a key": (("awsCredentials.accessKeyId=a",), ["awsCredentials.secretAccessKey: is missing"]),
    "a file of a third version": (("versions.v3.file=a.onnx",), ["versions.v3.file"]),
    "nothing to scale by": (
        (*SCALING, "autoscaling.targetCPUUtilizationPercentage=0"),
        ["neither targetCPUUtilizationPercentage nor targetQueueDepth"],
    ),
    "fewer than the fewest": ((*SCALING, "autoscaling.maxReplicas=1"), ["autoscaling.minReplicas"]),
    "an Ingress to nobody": ((*INGRESS, "gateway.enabled=false"), ["ingress.enabled: needs gateway.enabled"]),
    "routes of no gateway": (("gatewayAPI.enabled=true",), ["gatewayAPI.parentRefs: there is none"]),
    "a download without a digest": (DOWNLOAD, ["sha256 is required"]),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_wrong_is_refused_by_name(case: str) -> None:
    values, words = REFUSED[case]
    why = refusal(*sets(*values))
    assert all(word in why for word in words), why


def test_all_that_is_wrong_is_told_at_once() -> None:
    why = refusal(*sets("traffic.weights.v1=80", "provider=CUDAExecutionProvider"))
    assert "traffic.weights" in why
    assert "provider: CUDAExecutionProvider of v2" in why


def test_one_nodes_volume_is_let_through_where_there_is_one_node() -> None:
    own = sets("persistence.models.accessMode=ReadWriteOnce", r"nodeSelector.kubernetes\.io/hostname=a")
    assert render(*own).names("PersistentVolumeClaim") == ["detector-drift", "detector-models"]


def test_the_schema_knows_every_value_and_lets_no_other_through() -> None:
    schema = json.loads((ROOT / "charts" / "detector-grpc" / "values.schema.json").read_text(encoding="utf-8"))
    open_ones = [path for path, each in objects(schema) if "additionalProperties" not in each]
    # What Kubernetes itself checks, and what Helm hands to all charts.
    assert open_ones == ["affinity", "global", "models.volume"]


def objects(schema: Any, path: str = "") -> list[tuple[str, Any]]:
    own = [(path, schema)] if schema.get("type") == "object" and path else []
    for name, each in sorted(schema.get("properties", {}).items()):
        own += objects(each, f"{path}.{name}".lstrip("."))
    return own
