"""What the Dockerfile and the compose files name is there: settings, ports, files, images, commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from compose_spec import PyCompose

from detector_grpc.cli import main
from detector_grpc.settings import defaults, variables

PROJECT = Path(__file__).resolve().parents[2]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = PROJECT / "docker-compose.yaml"
OVERRIDES = (PROJECT / "docker-compose.gpu.yaml", PROJECT / "tests/images/docker-compose.stand-ins.yaml")

# Not ours, but read by what we use.
FOREIGN = re.compile(r"(AWS|GF|NVIDIA|ORT|PIP|RCLONE|XDG)_\w+|PYTHON\w+|COMPILE|DO_NOT_TRACK|HOME|LANG|PATH")

SETTINGS = {variable for _, variable, _ in variables()}

# ${NAME}, ${NAME:-default} and ${NAME-default}.
INTERPOLATED = re.compile(r"\$\{(?P<name>\w+)(?P<unset>:?-(?P<default>[^}]*))?\}")


def compose(path: Path) -> dict[str, Any]:
    """A compose file where no variable is set."""
    text = INTERPOLATED.sub(lambda found: found["default"] or "", path.read_text(encoding="utf-8"))
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def stages() -> dict[str, list[str]]:
    """The lines of each stage of the Dockerfile, continued lines as one."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.replace("\\\n", " ").splitlines():
        if line.startswith("FROM "):
            found[line.split()[-1]] = []
        elif found and line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def lines(instruction: str) -> list[str]:
    """All of an instruction, in whatever stage."""
    return [line for stage in stages().values() for line in stage if line.startswith(f"{instruction} ")]


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose(COMPOSE)["services"]
    return found


def ours(service: dict[str, Any]) -> bool:
    """Whether it runs an image of this project."""
    return str(service["image"]).startswith("detector-grpc:")


@pytest.mark.parametrize("path", [COMPOSE, *OVERRIDES], ids=lambda path: path.name)
def test_compose_files_are_as_their_specification_says(path: Path) -> None:
    content = {key: value for key, value in compose(path).items() if not key.startswith("x-")}
    PyCompose.from_yaml(yaml.safe_dump(content)).validate()


@pytest.mark.parametrize("path", OVERRIDES, ids=lambda path: path.name)
def test_overrides_change_services_that_there_are(path: Path) -> None:
    assert set(compose(path)["services"]) <= set(services())


def test_settings_of_images_and_services_exist() -> None:
    named = {name for line in lines("ENV") for name in re.findall(r"\s([A-Z][A-Z0-9_]*)=", line)}
    for service in services().values():
        named |= set(service.get("environment", {}))
    own = {name for name in named if not FOREIGN.fullmatch(name)}
    assert own <= SETTINGS
    assert "DETECTOR_AUTH_MODE" in own  # so something was read


def test_example_of_environment_names_what_compose_reads_with_its_defaults() -> None:
    example = dict(
        re.findall(r"^#?([A-Z0-9_]+)=(.*)$", (PROJECT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    read = {}
    for path in (COMPOSE, PROJECT / "docker-compose.gpu.yaml"):
        for found in INTERPOLATED.finditer(path.read_text(encoding="utf-8")):
            assert read.setdefault(found["name"], found["default"]) == found["default"], found["name"]
    shown = {"DETECTOR_MODELS_REPOSITORY"}  # has an example, since it has no default
    assert set(example) == set(read)
    assert {name: example[name] for name in read if name not in shown} == {
        name: default for name, default in read.items() if name not in shown
    }


def test_ports_of_images_are_those_of_the_settings() -> None:
    own = defaults()
    exposed = {
        name: set(map(int, re.findall(r"\d+", line)))
        for name, stage in stages().items()
        for line in stage
        if line.startswith("EXPOSE ")
    }
    serving = {own.server.port, own.server.metrics_port}
    assert exposed == {
        "server": serving,
        "gpu": serving,
        "drift": {own.drift.port, own.drift.metrics_port},
        "standalone": {own.gateway.port},
    }


def test_images_and_services_run_commands_that_exist() -> None:
    commands = [re.findall(r'"([^"]+)"', line) for line in lines("CMD")]
    commands += [service["command"] for service in services().values() if ours(service) and "command" in service]
    assert len(commands) == 6
    for words in commands:
        command: click.Command = main
        for word in words:
            if isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                assert found is not None, words
                command = found


def test_files_that_are_copied_and_mounted_exist() -> None:
    copied = [word for line in lines("COPY") if "--from" not in line for word in line.split()[1:-1]]
    mounted = [
        volume.split(":")[0]
        for service in services().values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert copied
    assert mounted
    assert [path for path in copied + mounted if not (PROJECT / path).exists()] == []


def test_images_of_others_are_pinned() -> None:
    official = [service["image"] for service in services().values() if not ours(service)]
    base = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE)
    assert len(official + base) == 5
    for image in official + base:
        assert re.fullmatch(r"[\w/.-]+:[\w.-]*\d+\.\d+[\w.-]*", image), image


def test_services_hold_no_more_rights_than_they_need() -> None:
    for name, service in services().items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name == "grafana", name


def test_only_the_gateway_is_published_beyond_this_machine_and_only_if_asked() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {
        "envoy": ["127.0.0.1:8000:8000"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_containers_are_given_the_time_that_a_server_takes_to_stop() -> None:
    own = defaults().server
    for name in ("server-v1", "server-v2"):
        assert int(services()[name]["stop_grace_period"].removesuffix("s")) >= own.drain_wait_s + own.grace_s + 5
