"""Writes what the chart takes from elsewhere; with --check, only says whether it is current.

The README has the values with the words of `values.yaml`; the schema has the names of all settings; and the chart has
copies of the rules and dashboards in `monitoring/`, since Helm reads nothing outside of it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from detector_grpc import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "detector-grpc"
MONITORING = ROOT / "monitoring"

# What the chart sets itself, by a value or since it follows from others, and what could not work in its pods.
OWNED = frozenset(
    {
        "DETECTOR_AUTH_CALLERS_FILE",
        "DETECTOR_AUTH_MODE",
        "DETECTOR_CAPTURE_FOLDER_MAX_BYTES",
        "DETECTOR_CAPTURE_FOLDER_PATH",
        "DETECTOR_CAPTURE_S3_ENDPOINT",
        "DETECTOR_CAPTURE_S3_PREFIX",
        "DETECTOR_CAPTURE_SINK",
        "DETECTOR_CAPTURE_STATE",
        "DETECTOR_DEMO",
        "DETECTOR_DRIFT_HOST",
        "DETECTOR_DRIFT_METRICS_PORT",
        "DETECTOR_DRIFT_PORT",
        "DETECTOR_DRIFT_STATE",
        "DETECTOR_DRIFT_TARGET",
        "DETECTOR_DRIFT_TARGET_AUTHORITY",
        "DETECTOR_DRIFT_TOKEN_FILE",
        "DETECTOR_GATEWAY_ADMIN_PORT",
        "DETECTOR_GATEWAY_CORS_ORIGINS",
        "DETECTOR_GATEWAY_FAILOVER",
        "DETECTOR_GATEWAY_HOST",
        "DETECTOR_GATEWAY_HTTP_PORT",
        "DETECTOR_GATEWAY_MAX_MEMORY_BYTES",
        "DETECTOR_GATEWAY_METRICS_PORT",
        "DETECTOR_GATEWAY_PLAIN_PORT",
        "DETECTOR_GATEWAY_PORT",
        "DETECTOR_GATEWAY_REQUEST_TIMEOUT_S",
        "DETECTOR_GATEWAY_SERVERS",
        "DETECTOR_GATEWAY_SERVERS_AUTHORITY",
        "DETECTOR_GATEWAY_SERVER_METRICS",
        "DETECTOR_GATEWAY_STATE",
        "DETECTOR_GATEWAY_TLS_CERTIFICATE",
        "DETECTOR_GATEWAY_TLS_PRIVATE_KEY",
        "DETECTOR_GATEWAY_TOKEN_FILE",
        "DETECTOR_GATEWAY_TRAFFIC_FILE",
        "DETECTOR_GATEWAY_VERSIONS",
        "DETECTOR_MODELS_DEFAULT_MODEL",
        "DETECTOR_MODELS_DEFAULT_VERSION",
        "DETECTOR_MODELS_POLL_S",
        "DETECTOR_MODELS_REPOSITORY",
        "DETECTOR_MODELS_VERSIONS",
        "DETECTOR_RUNTIME_ENGINE",
        "DETECTOR_RUNTIME_PROVIDER",
        "DETECTOR_SERVER_ADMIN_HOST",
        "DETECTOR_SERVER_ADMIN_PORT",
        "DETECTOR_SERVER_DRAIN_WAIT_S",
        "DETECTOR_SERVER_GRACE_S",
        "DETECTOR_SERVER_HOST",
        "DETECTOR_SERVER_METRICS_PORT",
        "DETECTOR_SERVER_PORT",
        "DETECTOR_SHADOW_TARGET",
        "DETECTOR_SHADOW_TOKEN_FILE",
        "DETECTOR_STREAMS_RESUME_KEY_FILE",
        "DETECTOR_TLS_CERTIFICATE",
        "DETECTOR_TLS_CLIENT_AUTHORITY",
        "DETECTOR_TLS_PRIVATE_KEY",
        "LOG_LEVEL",
        "MODEL_V1_PATH",
        "MODEL_V2_PATH",
        "REFERENCE_DATA_PATH",
        "S3_BUCKET_NAME",
        "UNCERTAINTY_THRESHOLD",
        "WORKERS",
    }
)

README = """\
# detector-grpc

Servers of each version of a model, Envoy before them, and what watches for drift, in Kubernetes 1.27 or later.

```sh
helm upgrade --install detector charts/detector-grpc --namespace vision --create-namespace \\
  --set image.repository=registry.example.org/detector-grpc --set image.tag=1.0.0
helm test detector --namespace vision
```

`ci/` has values for some uses. [The deployment guide](../../docs/deployment.md) says what to decide first, and
[examples/kubernetes](../../examples/kubernetes) has what is not part of the chart: Istio, KServe.

| what | kind |
|---|---|
| `<release>` | Service of the gateway, port 80: gRPC, gRPC-Web, REST and the page |
| `<release>-gateway` | Deployment: Envoy, and the process of the pages |
| `<release>-v1`, … | a Deployment and a headless Service for each version |
| `<release>-drift` | Deployment, one pod, that watches for drift |
| `<release>-traffic` | ConfigMap with the weights: the one thing that changes without a restart |
| `<release>-settings` | ConfigMap with what all processes are told; pods start anew when it changes |

What is wrong with values is told before anything is installed, each with its name. Every pod runs as the profile
"restricted" of Pod Security wants it: not as root, on a read-only file system, with no capabilities and no token for a
cluster.

## Values

| value | default | meaning |
|---|---|---|
"""


class Value(NamedTuple):
    """One documented value."""

    path: str
    default: Any
    meaning: str


def values() -> Iterator[Value]:
    """All of them, in the order of `values.yaml`, where each has a comment that begins with `# --` above it.

    Raises:
        ValueError: One that has no values below it has no comment.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    place: list[tuple[int, str]] = []
    comment: list[str] = []
    documented = -1
    for line in text.splitlines():
        if found := re.fullmatch(r" *# (?:-- )?(.+)", line):
            comment = [found[1]] if "# -- " in line else [*comment, found[1]] if comment else []
        elif found := re.match(r"( *)([\w]+):(.*)", line):
            indent = len(found[1])
            place = [*(each for each in place if each[0] < indent), (indent, found[2])]
            if documented >= 0 and indent > documented:  # part of one that has a comment
                continue
            documented = -1
            path = [name for _, name in place]
            if comment:
                yield Value(".".join(path), _at(defaults, path), " ".join(comment))
                documented = indent
            elif not isinstance(_at(defaults, path), dict):
                raise ValueError(f"{'.'.join(path)} has no comment")
            comment = []


def readme() -> str:
    """The README of the chart."""
    rows = (f"| `{each.path}` | `{json.dumps(each.default)}` | {each.meaning} |" for each in values())
    return README + "\n".join(rows) + "\n"


def schema() -> str:
    """The schema, with the names of the settings that are free."""
    path = CHART / "values.schema.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    names = {variable for _, variable, _ in settings.variables()} - OWNED
    content["definitions"]["settings"]["propertyNames"]["enum"] = sorted(names)
    return json.dumps(content, indent=2) + "\n"


def generated() -> Iterator[tuple[Path, str]]:
    """Every file and what it should contain."""
    yield CHART / "README.md", readme()
    yield CHART / "values.schema.json", schema()
    for source, folder in (("rules/*.yaml", "rules"), ("dashboards/*.json", "dashboards")):
        for file in sorted(MONITORING.glob(source)):
            yield CHART / "files" / folder / file.name, file.read_text(encoding="utf-8")


def main() -> None:
    """Writes the files, or compares."""
    files = dict(generated())
    copies = {path for folder in ("rules", "dashboards") for path in (CHART / "files" / folder).glob("*")}
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        stale += copies - files.keys()
        if stale:
            sys.exit(f"make proto would change {', '.join(str(path.relative_to(ROOT)) for path in stale)}")
        return
    for path in copies - files.keys():
        path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _at(content: Any, path: list[str]) -> Any:  # noqa: ANN401  whatever YAML can say
    for name in path:
        content = content[name]
    return content


if __name__ == "__main__":
    main()
