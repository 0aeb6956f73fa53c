"""Writes Envoy's configuration for docker compose into this folder.

With --check, only says whether it is current and whether Envoy takes it, with its routes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from detector_grpc.cli.gateway import plan_for
from detector_grpc.gateway.envoy import BOOTSTRAP_FILE, ROUTES_FILE, envoy_binary
from detector_grpc.gateway.state import State
from detector_grpc.settings import defaults

ENVOY = Path(__file__).resolve().parent


def render(folder: Path) -> None:
    """As `detector-grpc gateway render --for compose` does where no setting is set."""
    plan, place = plan_for(defaults(), "compose")
    State(folder).prepare(plan, place)


def validate(folder: Path) -> None:
    """Has Envoy look at the files, routes put in their place: it reads that file only when it serves."""
    bootstrap = yaml.safe_load((folder / BOOTSTRAP_FILE).read_text(encoding="utf-8"))
    routes = yaml.safe_load((folder / ROUTES_FILE).read_text(encoding="utf-8"))
    connections = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del connections["rds"]
    connections["route_config"] = {key: value for key, value in routes["resources"][0].items() if key != "@type"}
    for each in connections["http_filters"]:
        if "proto_descriptor" in each["typed_config"]:
            each["typed_config"]["proto_descriptor"] = str(folder / Path(each["typed_config"]["proto_descriptor"]).name)
    complete = folder / "complete.yaml"
    complete.write_text(yaml.safe_dump(bootstrap), encoding="utf-8")
    command = [str(envoy_binary()), "--mode", "validate", "--log-level", "warning", "--config-path", str(complete)]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit("Envoy refuses its configuration")


def main() -> None:
    """Writes, or compares and validates."""
    if "--check" not in sys.argv:
        render(ENVOY)
        return
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        render(fresh)
        stale = [path.name for path in sorted(fresh.iterdir()) if path.read_bytes() != _content(ENVOY / path.name)]
        if stale:
            raise SystemExit(f"envoy/{', '.join(stale)} not current: run `make proto`")
        validate(fresh)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    main()
