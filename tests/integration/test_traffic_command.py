"""`detector-grpc traffic` changes what Envoy does, and says what it does, also where files say something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import connected, encoded_request, wait_until
from support.gateways import running_gateway
from support.pictures import png

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result
    from support.gateways import Gateway

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _as_at_first(gateway: Gateway) -> None:
    gateway.share(v1=100)


def traffic(gateway: Gateway, *words: str) -> Result:
    command, *rest = words
    return CliRunner().invoke(main, ["traffic", command, "--state", str(gateway.state.folder), *rest])


def told(gateway: Gateway, *words: str) -> dict[str, Any]:
    """What a command that succeeds prints."""
    result = traffic(gateway, *words, "--json")
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_set_changes_which_version_answers_from_then_on(gateway: Gateway) -> None:
    with connected(gateway.address) as client:
        for only in ("v2", "v1"):
            assert told(gateway, "set", f"{only}=1") == {"weights": {only: 1}, "shadow": {}}
            assert {client.detect(REQUEST).version for _ in range(20)} == {only}


def test_get_says_what_envoy_has_accepted(gateway: Gateway) -> None:
    told(gateway, "set", "v1=80", "v2=20")
    told(gateway, "shadow", "v2=12.5%")

    assert told(gateway, "get") == {"weights": {"v1": 80, "v2": 20}, "shadow": {"v2": 0.125}}
    table = traffic(gateway, "get").stdout
    for word in ("v1", "80%", "v2", "20%", "12.5%"):
        assert word in table


def test_weights_and_shadow_do_not_touch_each_other(gateway: Gateway) -> None:
    told(gateway, "shadow", "v2=10%")
    assert told(gateway, "set", "v1=1", "v2=1") == {"weights": {"v1": 1, "v2": 1}, "shadow": {"v2": 0.1}}
    assert told(gateway, "shadow", "v2=0%") == {"weights": {"v1": 1, "v2": 1}, "shadow": {}}


@pytest.mark.parametrize("words", [["set", "v1=0"], ["set", "v3=1"], ["set", "v1=-1"], ["shadow", "v2=200%"]])
def test_nonsense_changes_nothing(gateway: Gateway, words: list[str]) -> None:
    files = {path: path.read_bytes() for path in gateway.state.folder.iterdir()}

    result = traffic(gateway, *words)

    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert {path: path.read_bytes() for path in gateway.state.folder.iterdir()} == files


@pytest.mark.parametrize(
    ("before", "after", "in_log"),
    [
        ("weight: 100", "weight: [100", "yaml"),
        ("weight: 100", "wieght: 100", "wieght"),
        ("weight: 100", "weight: 0", "weight"),
        ("cluster: servers", "cluster: servers\n        prefix_rewrite: []", "prefix_rewrite"),
    ],
    ids=["no YAML", "no such field", "weights of 0", "wrong type"],
)
def test_an_edited_routes_file_with_a_typo_leaves_the_old_weights_and_is_named(
    gateway: Gateway, before: str, after: str, in_log: str
) -> None:
    routes = gateway.state.folder / "routes.yaml"
    lines = len(gateway.envoy.lines)
    edited = routes.with_suffix(".edited")
    edited.write_text(routes.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    edited.rename(routes)

    def refused() -> bool:
        return any(in_log in line for line in gateway.envoy.lines[lines:] if '"level":"warning"' in line)

    wait_until(refused, f"a warning about {in_log}")

    with connected(gateway.address) as client:
        assert {client.detect(REQUEST).version for _ in range(20)} == {"v1"}
    result = traffic(gateway, "get")
    assert result.exit_code == 1
    assert "v1" in result.stdout
    assert str(routes) in result.stderr
    assert told(gateway, "set", "v2=1")["weights"] == {"v2": 1}


def test_a_change_to_a_file_that_envoy_never_saw_is_told(gateway: Gateway) -> None:
    routes = gateway.state.folder / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("weight: 100", "weight: 99")
    routes.write_text(text, encoding="utf-8")  # in place, which Envoy does not see

    result = traffic(gateway, "get")

    assert result.exit_code == 1
    assert "says v1=99, Envoy has v1=100" in result.stderr


def test_without_a_gateway_nothing_is_changed(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["traffic", "set", "--state", str(tmp_path), "v1=1"])

    assert result.exit_code == 2
    assert "is not the state of a gateway" in result.output
    assert not list(tmp_path.iterdir())
