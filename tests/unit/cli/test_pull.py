"""A model comes by one command, or a person is told why it does not and what to do."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from support.disks import may_mount, on_a_disk
from support.onnx_files import tiny_onnx
from support.origin import Origin, origin
from support.repositories import NOBODY, environment
from support.servers import DEFAULTS, PATIENCE_S

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PULL = (sys.executable, "-m", "detector_grpc", "models", "pull")
# Nobody listens there.


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A model of about a megabyte."""
    return tiny_onnx(tmp_path / "made" / "tiny.onnx", columns=40_000, names='{"0": "a", "1": "b"}').read_bytes()


@pytest.fixture
def server(content: bytes) -> Iterator[Origin]:
    with origin(content) as made:
        yield made


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def pull(repository: Path, *arguments: object) -> Result:
    return CliRunner().invoke(
        main, ["models", "pull", "--retries", "0", *map(str, arguments)], env=environment(repository)
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def facts(result: Result) -> dict[str, Any]:
    return json.loads(result.stdout)


class TestByUrl:
    def test_becomes_a_version_and_is_told_what_it_was_not_compared_with(
        self, server: Origin, repository: Path, content: bytes
    ) -> None:
        told = pull(repository, f"{server.url}street%20cars.onnx?token=secret")

        assert files(repository) == ["street-cars/v1/model.onnx"]
        digest = hashlib.sha256(content).hexdigest()
        assert f"sha256:{digest}" in told.output
        assert f"--sha256 {digest} does from now on" in told.output
        assert "secret" not in told.output

    def test_is_checked_where_its_digest_is_said(self, server: Origin, repository: Path, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()

        told = facts(pull(repository, f"{server.url}x.onnx", "--sha256", f"SHA256:{digest.upper()}", "--json"))

        assert (told["digest"], told["checked"], told["new"]) == (f"sha256:{digest}", True, True)

    def test_that_is_another_file_is_deleted_and_said(self, server: Origin, repository: Path, content: bytes) -> None:
        told = pull(repository, f"{server.url}x.onnx", "--sha256", "0" * 64)

        assert told.exit_code == 1
        assert (
            f"has the sha256 {hashlib.sha256(content).hexdigest()}, and not {'0' * 64}, so it was deleted"
            in told.output
        )
        assert files(repository) == []

    def test_gets_the_manifest_and_the_names_that_are_given(
        self, server: Origin, repository: Path, tmp_path: Path
    ) -> None:
        manifest = tmp_path / "said.yaml"
        manifest.write_text("description: of mine", encoding="utf-8")

        pull(repository, f"{server.url}x.onnx", "--manifest", manifest, "--model", "street", "--model-version", "beta")

        assert files(repository) == ["street/beta/manifest.yaml", "street/beta/model.onnx"]
        assert (repository / "street" / "beta" / "manifest.yaml").read_text(encoding="utf-8") == "description: of mine"

    def test_twice_is_two_versions_where_nothing_says_that_it_is_the_same(
        self, server: Origin, repository: Path
    ) -> None:
        assert [facts(pull(repository, f"{server.url}x.onnx", "--json"))["version"] for _ in range(2)] == ["v1", "v2"]

    def test_that_is_there_already_is_not_brought_again(self, server: Origin, repository: Path, content: bytes) -> None:
        known = ("--sha256", hashlib.sha256(content).hexdigest(), "--json")
        pull(repository, f"{server.url}x.onnx", *known)

        told = facts(pull(repository, f"{server.url}x.onnx", *known))

        assert (told["version"], told["new"]) == ("v1", False)
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["http://plain.invalid/x.onnx"], "anybody on the way can change what comes by http://"),
            (["yolox-nano", "--sha256", "0" * 64], "are for URLs"),
            (["https://host.invalid/x", "--sha256", "12"], "takes 64 hexadecimal digits, got 12"),
            (["https://host.invalid/x", "--model", "../x"], "letters, digits"),
            (["yolox-nan"], 'has no "yolox-nan"; it has yolox-nano, yolox-tiny'),
        ],
    )
    def test_that_cannot_be_meant_is_said_before_anything_is_done(
        self, repository: Path, arguments: list[str], words: str
    ) -> None:
        told = pull(repository, *arguments)

        assert told.exit_code in (1, 2)
        assert words in told.output
        assert not repository.exists()

    def test_is_there_though_no_server_runs_which_is_a_fault_only_of_one_that_was_named(
        self, server: Origin, repository: Path
    ) -> None:
        told = pull(repository, f"{server.url}x.onnx")
        named = pull(repository, f"{server.url}x.onnx", "--admin-address", NOBODY)

        assert (told.exit_code, named.exit_code) == (0, 1)
        assert f"No server that runs has {repository}" in told.output
        assert files(repository) == ["x/v1/model.onnx", "x/v2/model.onnx"]


class TestByName:
    def test_comes_from_a_mirror_under_its_own_name(self, server: Origin, repository: Path) -> None:
        told = pull(repository, "yolox-nano", "--models-mirror", f"{server.url}models/")

        assert [path for path, _ in server.asked] == ["/models/yolox_nano.onnx"]
        assert told.exit_code == 1
        assert "and not 695e750a" in told.output  # what this mirror has is another file

    def test_without_a_network_is_told_what_to_do(self, repository: Path) -> None:
        with origin(b"") as gone:
            pass
        told = pull(repository, "yolox-nano", "--models-mirror", gone.url)

        assert told.exit_code == 1
        assert "Connection refused" in told.output
        assert "bring yolox_nano.onnx from a machine that has one" in told.output
        assert "--models-mirror file:///FOLDER" in told.output


@pytest.mark.skipif(not may_mount(), reason="nobody may mount anything here")
def test_a_repository_that_cannot_be_written_is_said_before_anything_is_brought(
    server: Origin, repository: Path
) -> None:
    repository.mkdir()
    done = subprocess.run(
        on_a_disk(repository, "ro", (*PULL, f"{server.url}x.onnx")),
        env=DEFAULTS | environment(repository), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip

    assert done.returncode == 1
    assert f"cannot write into {repository}: Read-only file system" in done.stderr
    assert server.asked == []


def test_what_a_full_disk_has_taken_is_gone_on_from_when_there_is_room(
    server: Origin, repository: Path, content: bytes
) -> None:
    room = 500_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    command = (*PULL, f"{server.url}x.onnx")
    settings = {"env": DEFAULTS | environment(repository), "capture_output": True, "text": True, "timeout": PATIENCE_S}
    done = subprocess.run(command, preexec_fn=limited, check=False, **settings)

    assert done.returncode == 1
    assert f"cannot write into {repository}: File too large; make room, and the same command" in done.stderr
    assert "Traceback" not in done.stderr

    subprocess.run(command, check=True, **settings)

    assert server.starts == ["", f"bytes={room}-"]
    assert (repository / "x" / "v1" / "model.onnx").read_bytes() == content
    assert files(repository) == ["x/v1/model.onnx"]


def test_what_was_stopped_by_ctrl_c_goes_on_where_it_was(server: Origin, repository: Path, content: bytes) -> None:
    server.hangs_at = 300_000
    command = (*PULL, f"{server.url}x.onnx")
    with subprocess.Popen(
        command, env=DEFAULTS | environment(repository), stderr=subprocess.PIPE, text=True
    ) as process:
        (part,) = _until_there(repository, process, server.hangs_at)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert part.stat().st_size == server.hangs_at

    server.hangs_at = None
    told = pull(repository, f"{server.url}x.onnx")

    assert told.exit_code == 0, told.output
    assert server.starts == ["", "bytes=300000-"]
    assert (repository / "x" / "v1" / "model.onnx").read_bytes() == content


def _until_there(repository: Path, process: subprocess.Popen[str], size: int) -> list[Path]:
    """The file that is on its way, once so much of it is there."""
    while process.poll() is None:
        found = [path for path in repository.glob(".pulls/*/file") if path.stat().st_size >= size]
        if found:
            return found
        os.sched_yield()
    raise AssertionError(process.stderr.read())


def test_the_catalogue_says_what_was_measured_here_and_what_is_only_published() -> None:
    runner = CliRunner()
    told = json.loads(runner.invoke(main, ["models", "catalogue", "--json"]).output)
    table = runner.invoke(main, ["models", "catalogue"], env={"COLUMNS": "80"}).output

    assert told["yolox-nano"]["licence"] == "Apache-2.0"
    assert (told["yolox-nano"]["published"], told["yolox-nano"]["measured"]) == (0.258, 0.538)
    assert told["yolox-tiny"]["measured"] is None
    (row,) = [line for line in table.splitlines() if "yolox-nano" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][-3:] == ["0.258", "0.538", "run here"]
    assert yaml.safe_load(json.dumps(told["yolox-nano"]["manifest"])) == {"head": "yolox"}
