"""`detector-grpc models load` and `unload` against running processes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner
from support.calls import SERVING, connected
from support.certificates import Authority
from support.onnx_files import tiny_onnx
from support.servers import server_process

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result
    from support.servers import ServerProcess

NOWHERE = "localhost:1"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two processes, each with a repository of its own, `0` and `1`, that holds version v1."""
    for name in ("0", "1"):
        tiny_onnx(tmp_path / name / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path / "0") as first, server_process(repository=tmp_path / "1") as second:
        for server in (first, second):
            with connected(server.address) as client:
                client.wait_for_status(SERVING)
        yield first, second


def order(what: str, version: str, *servers: ServerProcess | str, flags: tuple[str, ...] = ()) -> Result:
    addresses = [server if isinstance(server, str) else server.admin_address for server in servers]
    options = [part for address in addresses for part in ("--admin-address", address)]
    return CliRunner().invoke(main, ["models", what, "tiny", version, *options, *flags])


def test_every_process_is_ordered_and_reported_in_the_order_of_the_addresses(
    tmp_path: Path, two: tuple[ServerProcess, ServerProcess]
) -> None:
    for name in ("0", "1"):
        tiny_onnx(tmp_path / name / "tiny" / "v2" / "model.onnx")
    digest = hashlib.sha256((tmp_path / "0" / "tiny" / "v2" / "model.onnx").read_bytes()).hexdigest()

    done = order("load", "v2", *reversed(two))

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{server.admin_address}: tiny v2 is ready, sha256:{digest}" for server in reversed(two)
    ]
    assert order("unload", "v2", *two).stdout.splitlines() == [
        f"{server.admin_address}: tiny v2 is unloaded" for server in two
    ]


def test_one_that_fails_does_not_stop_the_others_but_makes_the_exit_code_1(
    tmp_path: Path, two: tuple[ServerProcess, ServerProcess]
) -> None:
    tiny_onnx(tmp_path / "1" / "tiny" / "v2" / "model.onnx")

    done = order("load", "v2", two[0], NOWHERE, two[1])

    missing, unreachable, ready = done.stdout.splitlines()
    assert done.exit_code == 1
    assert missing.startswith(f"{two[0].admin_address}: Failed: NOT_FOUND (MODEL_VERSION_NOT_FOUND): ")
    assert str(tmp_path / "0" / "tiny" / "v2" / "model.onnx") in missing
    assert unreachable.startswith(f"{NOWHERE}: Failed: no answer from {NOWHERE} (")
    assert "--admin-address names another" in " ".join(unreachable.split())
    assert ready.startswith(f"{two[1].admin_address}: tiny v2 is ready, sha256:")


def test_unloading_the_default_version_says_what_follows(two: tuple[ServerProcess, ServerProcess]) -> None:
    done = order("unload", "v1", two[0])

    assert done.exit_code == 0
    assert "it was the default: calls that name no version are refused until it is loaded again" in done.stdout


def test_json_is_one_object_a_line(tmp_path: Path, two: tuple[ServerProcess, ServerProcess]) -> None:
    tiny_onnx(tmp_path / "1" / "tiny" / "v2" / "model.onnx")

    loads = order("load", "v2", *two, flags=("--json",))
    unloads = order("unload", "v2", *two, flags=("--json",))

    failed, loaded = map(json.loads, loads.stdout.splitlines())
    assert failed.keys() == {"address", "error"}
    assert "MODEL_VERSION_NOT_FOUND" in failed["error"]
    assert (loaded["address"], loaded["state"], loaded["is_default"]) == (two[1].admin_address, "READY", False)
    assert loaded["digest"].startswith("sha256:")
    failed, unloaded = map(json.loads, unloads.stdout.splitlines())
    assert "MODEL_VERSION_NOT_HELD" in failed["error"]
    assert unloaded == {"address": two[1].admin_address, "was_default": False}
    assert (loads.exit_code, unloads.exit_code) == (1, 1)


def test_addresses_may_come_from_the_environment(two: tuple[ServerProcess, ServerProcess]) -> None:
    environment = {"DETECTOR_ADMIN_ADDRESS": " ".join(server.admin_address for server in two)}

    done = CliRunner().invoke(main, ["models", "load", "tiny", "v1"], env=environment)

    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [server.admin_address for server in two]


def test_credentials_are_shown(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx")
    authority = Authority("ours")
    certificate, key = authority.server().write(tmp_path, "server")
    trusted, token, callers = tmp_path / "authority.crt", tmp_path / "token", tmp_path / "callers.yaml"
    trusted.write_bytes(authority.certificate)
    token.write_text("secret\n")
    digest = hashlib.sha256(b"secret").hexdigest()
    callers.write_text(yaml.safe_dump([{"caller": "operator", "token_sha256": digest, "classes": ["admin"]}]))
    settings = {"tls_certificate": certificate, "tls_private_key": key, "auth_callers_file": callers}
    with server_process(repository=tmp_path / "models", **settings) as server:
        server.wait_for_log("version ready")
        address = f"localhost:{server.admin_port}"
        encrypted = ("--tls-ca", str(trusted))

        assert order("load", "v1", address, flags=(*encrypted, "--token-file", str(token))).exit_code == 0
        stranger = order("load", "v1", address, flags=encrypted)

    assert stranger.exit_code == 1
    assert "UNAUTHENTICATED" in stranger.stdout
