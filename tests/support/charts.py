"""Renders the chart with Helm, and looks at what comes out."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "detector-grpc"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))

OLDEST, NEWEST = "1.29", "1.37"

Manifest = dict[str, Any]


def tool(name: str) -> str:
    """A program that is no part of Python's environment: on the PATH, or where `make chart-tools` has put it."""
    found = shutil.which(name, path=str(ROOT / ".tools")) or shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here; `make chart-tools` gets it")
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Helm, which asks no cluster."""
    return subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, check=False)


@cache
def render(*arguments: str, release: str = "detector") -> Manifests:
    """What the chart makes of some values, given as arguments of Helm."""
    command = ("template", release, str(CHART), "--namespace", "vision", "--kube-version", f"{OLDEST}.0", *arguments)
    ended = helm(*command)
    assert ended.returncode == 0, ended.stderr
    return Manifests(ended.stdout)


def refusal(*arguments: str) -> str:
    """Why Helm refuses some values."""
    ended = helm("template", "detector", str(CHART), "--kube-version", f"{OLDEST}.0", *arguments)
    assert ended.returncode != 0, ended.stdout
    return ended.stderr


class Manifests:
    """All manifests of one rendering.

    Attributes:
        text: As Helm wrote them.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._all: list[Manifest] = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self._all)

    def names(self, kind: str) -> list[str]:
        return sorted(each["metadata"]["name"] for each in self._all if each["kind"] == kind)

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = [each for each in self._all if each["kind"] == kind and each["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Name and specification of every pod that comes of them."""
        for each in self._all:
            if each["kind"] == "Deployment":
                yield each["metadata"]["name"], each["spec"]["template"]["spec"]
            elif each["kind"] == "Pod":
                yield each["metadata"]["name"], each["spec"]

    def environment(self, deployment: str) -> dict[str, str]:
        """Variables of a Deployment's container, but for those from Secrets."""
        (container,) = self.one("Deployment", deployment)["spec"]["template"]["spec"]["containers"]
        (source,) = container["envFrom"]
        shared = self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return shared | {each["name"]: each["value"] for each in container["env"] if "value" in each}


def sets(*values: str) -> Sequence[str]:
    """Values as arguments of Helm."""
    return [argument for value in values for argument in ("--set", value)]
