"""Builds the images, says what their layers weigh, and fails where one is larger than it may be.

Run in the project's folder. Options behind `--` are for the builder, such as `-- --network host`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Megabytes (10^6 bytes) that each may have, uncompressed. That for GPUs is as large as NVIDIA's libraries are.
LIMITS_MB = {"server": 500, "standalone": 600, "drift": 1300, "gpu": None}

# What is in the layers, in their order.
LAYERS = ("libraries of Debian, Python", "packages that the project needs", "the project", "Envoy")

ENGINES = ("docker", "podman")


def main() -> None:
    """Builds what is asked for."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = words[end + 1 :]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=["server", "standalone", "drift"], metavar="TARGET")
    parser.add_argument("--engine", choices=ENGINES, default=next(filter(shutil.which, ENGINES), ENGINES[0]))
    parser.add_argument("--repository", default="detector-grpc", help="name of the images [detector-grpc]")
    arguments = parser.parse_args(words[:end])
    unknown = set(arguments.targets) - set(LIMITS_MB)
    if unknown:
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(LIMITS_MB)}")
    for target in arguments.targets:
        image = tag(arguments.repository, target)
        build(arguments.engine, target, image, options)
        check_size(arguments.engine, target, image)


def tag(repository: str, target: str) -> str:
    """The name of an image: `:VERSION` is the whole service, `:VERSION-TARGET` any other."""
    return f"{repository}:{version()}" if target == "standalone" else f"{repository}:{version()}-{target}"


def version() -> str:
    """That of the project."""
    text = Path("src/detector_grpc/__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.*)"$', text, re.MULTILINE)[0]


def build(engine: str, target: str, image: str, options: list[str]) -> None:
    """Builds one."""
    # Only Docker's own format knows health checks.
    own = ["--format", "docker", "--layers"] if engine == "podman" else []
    labels = [f"--label=org.opencontainers.image.{name}={value}" for name, value in labels_of_this().items()]
    command = [engine, "build", *own, *labels, *options]
    subprocess.run([*command, "--target", target, "--tag", image, "."], check=True)


def labels_of_this() -> dict[str, str]:
    """What is said of this very build, beside what the Dockerfile says of all."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
    commit = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    return {"version": version()} | ({"revision": commit} if commit else {})


def check_size(engine: str, target: str, image: str) -> None:
    """Prints what each layer weighs."""
    history = output(engine, "history", "--no-trunc", "--human=false", "--format", "json", image)
    steps = json.loads(history) if engine == "podman" else [json.loads(line) for line in history.splitlines()]
    sizes_mb = [int(step.get("size", step.get("Size"))) / 1e6 for step in reversed(steps)]
    layers = [size_mb for size_mb in sizes_mb if round(size_mb) > 0]
    for size_mb, name in zip(layers, LAYERS, strict=False):
        print(f"{size_mb:8.1f} MB  {name}")
    total_mb = sum(sizes_mb)
    limit_mb = LIMITS_MB[target]
    print(f"{total_mb:8.1f} MB  {image}, of {limit_mb or 'any number of'} MB")
    if limit_mb is not None and total_mb > limit_mb:
        raise SystemExit(f"{image} is larger than it may be: docker/packages.py says what is left out")


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
