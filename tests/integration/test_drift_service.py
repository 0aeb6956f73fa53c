"""The process that watches, as servers and people know it."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import yaml
from support.calls import SERVING, connected, encoded_request, wait_until
from support.certificates import Authority
from support.drift import observations
from support.drifts import DIGEST, DRIFT_SERVE, V1, DriftCalls, drift_process
from support.metrics import read_metrics
from support.onnx_files import tiny_onnx
from support.pictures import jpeg
from support.rich_errors import leak_in, reason_of
from support.servers import failed_start, server_process

from detector_grpc._gen.detector.v1 import drift_service_pb2 as messages
from detector_grpc.rpc.drift_convert import observe_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.servers import ServerProcess


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(9)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    with drift_process(tmp_path) as process:
        yield process


@pytest.fixture
def calls(process: ServerProcess) -> Iterator[DriftCalls]:
    with DriftCalls(process.address) as calls:
        yield calls


def command(process: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "detector_grpc", "drift", *arguments, "--address", process.address]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_what_servers_tell_becomes_a_state_in_words(
    calls: DriftCalls, process: ServerProcess, rng: np.random.Generator
) -> None:
    assert not calls.drift.GetDriftStatus(messages.GetDriftStatusRequest(), timeout=30).statuses
    calls.tell(observations(rng, 400))
    learning = calls.status()
    assert learning.state == messages.DRIFT_STATE_LEARNING
    assert (learning.observations, learning.observations_needed) == (400, 800)

    calls.tell(observations(rng, 450))
    assert calls.status().state == messages.DRIFT_STATE_STABLE
    calls.tell(observations(rng, 250, brightness=50))

    drifted = calls.status()
    assert drifted.state == messages.DRIFT_STATE_DRIFTED
    assert drifted.model_digest == DIGEST
    first = drifted.features[0]
    assert (first.name, first.drifted) == ("brightness", True)
    assert first.words.startswith("brightness fell from 1")
    assert first.reference_quantiles[2] == pytest.approx(120, abs=3)
    assert first.current_quantiles[2] == pytest.approx(50, abs=5)
    assert first.psi > 1
    assert first.p_value < 1e-6
    metrics = read_metrics(process)
    names = {"model": "codes", "version": "v1"}
    assert metrics.value("data_drift_detected_total", **names) == 1
    assert metrics.value("data_drift_state", state="drifted", **names) == 1
    assert metrics.value("data_drift_state", state="stable", **names) == 0
    assert metrics.value("data_drift_feature_ratio", feature="brightness", **names) > 2
    assert process.wait_for_log("the world has changed")["because"][0].startswith("brightness fell from 1")


def test_whoever_kills_it_loses_nothing_that_was_told(tmp_path: Path, rng: np.random.Generator) -> None:
    with drift_process(tmp_path) as process, DriftCalls(process.address) as calls:
        calls.tell(observations(rng, 830, "hall"))
        before = calls.status()
        process.send(signal.SIGKILL)
        process.wait()

    with drift_process(tmp_path) as process, DriftCalls(process.address) as calls:
        assert calls.status() == before
        calls.tell(observations(rng, 70, noise=90))
        assert calls.status().state == messages.DRIFT_STATE_WARNING


def test_it_stops_when_asked(process: ServerProcess) -> None:
    process.send(signal.SIGTERM)

    assert process.wait() == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schema": 2}, "schema"),
        ({"model": ""}, "model"),
        ({"version": "x" * 256}, "version"),
        ({"model_digest": ""}, "model_digest"),
        ({"lost": -1}, "lost"),
        ({"observations": [messages.DriftObservation(values=[1.0])]}, "observations.values"),
        ({"observations": [messages.DriftObservation()] * 1001}, "observations"),
        ({"model": "\x1b[31mred"}, "model"),
        ({"observations": [messages.DriftObservation(values=[0.0] * 21, stream_id="a\x1b[2J")]}, "observations"),
        ({"observations": [messages.DriftObservation(values=[0.0] * 21, classes={"dog": 1001})]}, "classes"),
        ({"observations": [messages.DriftObservation(values=[0.0] * 21, classes={"d" * 300: 1})]}, "observations"),
    ],
)
def test_batches_that_are_none_are_refused(calls: DriftCalls, change: dict[str, Any], field: str) -> None:
    request = observe_request(V1, DIGEST, [], 0)
    sound = {name.name: value for name, value in request.ListFields()}

    with pytest.raises(grpc.RpcError) as failure:
        calls.ingest.Observe(messages.ObserveRequest(**sound | change), timeout=30)

    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in failure.value.details()


def test_references_are_changed_by_command_and_written_down(
    calls: DriftCalls, process: ServerProcess, rng: np.random.Generator, tmp_path: Path
) -> None:
    calls.tell(observations(rng, 800) + observations(rng, 900, noise=90))
    changed = command(process, "status", "--json")
    assert changed.returncode == 1
    assert json.loads(changed.stdout)[0]["state"] == "DRIFTED"
    shown = command(process, "status")
    assert "noise rose from " in shown.stdout

    used = command(process, "reference", "codes", "v1", "--recent")

    assert used.returncode == 0, used.stderr
    assert "observations of late; before with: first 800 observations" in used.stdout
    assert command(process, "status").returncode == 0
    listed = command(process, "reference", "codes", "v1", "--json")
    assert [each["number"] for each in json.loads(listed.stdout)] == [2, 1]
    assert command(process, "reference", "codes", "v1", "--number", "1").returncode == 0
    audit = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [each["caller"] for each in audit] == ["(learned)", "anonymous", "anonymous"]
    assert command(process, "reference", "codes", "v1", "--recent", "--learn").returncode == 2
    (tmp_path / "latin").write_bytes(b"\xe9")
    unread = command(process, "reference", "codes", "v1", "--file", str(tmp_path / "latin"))
    assert unread.returncode == 1
    assert unread.stderr.startswith("Error: cannot read ")


def test_a_reference_that_is_none_is_refused_and_the_old_one_stays(
    calls: DriftCalls, rng: np.random.Generator, tmp_path: Path
) -> None:
    calls.tell(observations(rng, 800))
    text = (tmp_path / "reference_features.json").read_text(encoding="utf-8")

    with pytest.raises(grpc.RpcError) as failure:
        calls.update(file=text[:-1])
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(failure.value) == "REFERENCE_INVALID"

    assert calls.status().state == messages.DRIFT_STATE_STABLE
    assert calls.update(file=text).reference.observations == 800
    with pytest.raises(grpc.RpcError, match="new_reference: must be one of recent, file, number and learn"):
        calls.update()
    with pytest.raises(grpc.RpcError, match="new_reference"):
        calls.update(recent=False)
    assert calls.status().reference.source == "first 800 observations"
    assert not calls.update(learn=True).HasField("reference")
    with pytest.raises(grpc.RpcError, match="needs 800 observations in at least 8 blocks, there are 0"):
        calls.update(recent=True)


def test_versions_that_nobody_watches_are_not_found(calls: DriftCalls) -> None:
    report = messages.GetDriftReportRequest()
    for ask in (lambda: calls.update(recent=True), lambda: calls.drift.GetDriftReport(report, timeout=30)):
        with pytest.raises(grpc.RpcError) as failure:
            ask()
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_second_one_on_the_same_folder_does_not_start(
    calls: DriftCalls, rng: np.random.Generator, tmp_path: Path
) -> None:
    code, said = failed_start(DRIFT_SERVE, drift_state=tmp_path)

    assert code == 2
    assert f"another `drift serve` remembers in {tmp_path}; choose another DETECTOR_DRIFT_STATE" in said
    assert "Traceback" not in said
    assert calls.tell(observations(rng, 10)) == 10
    assert calls.status().stored


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    code, said = failed_start(DRIFT_SERVE, drift_state=tmp_path / "file" / "folder")

    assert code == 2
    assert f"cannot remember anything in {tmp_path / 'file' / 'folder'} (DETECTOR_DRIFT_STATE): Not a directory" in said
    assert "Traceback" not in said


def test_a_full_disk_is_said_and_costs_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    """No file can grow, as if the disk were full."""
    with drift_process(tmp_path) as process, DriftCalls(process.address) as calls:
        calls.tell(observations(rng, 400))
        pid, size = process.process.pid, resource.RLIMIT_FSIZE
        room = resource.prlimit(pid, size, (1, resource.prlimit(pid, size)[1]))

        calls.tell(observations(rng, 450))

        full = calls.status()
        assert (full.state, full.stored) == (messages.DRIFT_STATE_STABLE, False)
        assert read_metrics(process).value("data_drift_stored") == 0
        assert "the state of drift cannot be written" in process.text
        assert "not on disk" in command(process, "status").stdout
        calls.update(recent=True)

        resource.prlimit(pid, size, room)
        calls.tell(observations(rng, 1))
        assert calls.status().stored
        before = calls.status()
        process.send(signal.SIGKILL)
        process.wait()

    callers = [json.loads(line)["caller"] for line in (tmp_path / "audit.jsonl").read_text("utf-8").splitlines()]
    assert callers == ["(learned)", "anonymous"]
    with drift_process(tmp_path) as process, DriftCalls(process.address) as calls:
        assert calls.status() == before
        assert [each["number"] for each in json.loads(command(process, "reference", "codes", "v1", "--json").stdout)]


def bearer(caller: str | None) -> Sequence[tuple[str, str]]:
    return [("authorization", f"Bearer {caller}")] if caller else []


def test_who_may_tell_may_change_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    callers = tmp_path / "callers.yaml"
    entries = [
        {"caller": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "classes": [name]}
        for name in ("infer", "read", "admin")
    ]
    callers.write_text(yaml.safe_dump(entries), encoding="utf-8")
    update = messages.UpdateReferenceRequest(model="codes", version="v1", learn=True)
    with drift_process(tmp_path / "state", auth_callers_file=callers) as process, DriftCalls(process.address) as calls:
        tries = {
            "infer": (calls.ingest.Observe, observe_request(V1, DIGEST, observations(rng, 5), 0)),
            "read": (calls.drift.GetDriftStatus, messages.GetDriftStatusRequest()),
            "admin": (calls.drift.UpdateReference, update),
        }
        for needed, (call, request) in tries.items():
            for caller in (None, *tries.keys() - {needed}):
                with pytest.raises(grpc.RpcError) as failure:
                    call(request, timeout=30, metadata=bearer(caller))
                denied = grpc.StatusCode.PERMISSION_DENIED if caller else grpc.StatusCode.UNAUTHENTICATED
                assert failure.value.code() is denied
                assert not leak_in(failure.value)
            call(request, timeout=30, metadata=bearer(needed))

    (entry,) = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(entry)["caller"] == "admin"


def test_what_people_write_into_references_is_shown_as_it_is(
    calls: DriftCalls, process: ServerProcess, rng: np.random.Generator, tmp_path: Path
) -> None:
    calls.tell(observations(rng, 800))
    content = json.loads((tmp_path / "reference_features.json").read_text(encoding="utf-8"))
    content["references"][0]["source"] = "[/b] [red]"
    calls.update(file=json.dumps(content))

    shown = command(process, "status"), command(process, "reference", "codes", "v1")

    for each in shown:
        assert each.returncode == 0, each.stderr
        assert "[/b] [red]" in each.stdout


def test_servers_tell_by_tls(tmp_path: Path) -> None:
    authority = Authority("ours")
    certificate, key = authority.server().write(tmp_path, "server")
    trusted = tmp_path / "authority.crt"
    trusted.write_bytes(authority.certificate)
    tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx")
    tls = {"tls_certificate": certificate, "tls_private_key": key}
    settings = {"repository": tmp_path / "models", "drift_sample_rate": 1}
    with (
        drift_process(tmp_path / "state", **tls) as watching,
        server_process(**settings, drift_target=watching.address, drift_target_authority=trusted) as server,
        server_process(**settings, drift_target=watching.address) as plain,
        connected(server.address) as client,
        connected(plain.address) as other,
    ):
        for each in (client, other):
            each.wait_for_status(SERVING)
            each.detect(encoded_request(jpeg(np.zeros((64, 64, 3), np.uint8))))
        observed = "object_detection_drift_observations_total"
        wait_until(lambda: read_metrics(server).total(observed, outcome="told") == 1, "what was observed is told")
        wait_until(lambda: read_metrics(plain).total(observed, outcome="lost") == 1, "nothing is told unencrypted")
        assert "nobody watches for drift" in plain.text


def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = failed_start(drift_target="localhost:1", drift_sample_rate=1, drift_target_authority=tmp_path / "none")

    assert code == 2
    assert f"cannot read the TLS file {tmp_path / 'none'}" in said
