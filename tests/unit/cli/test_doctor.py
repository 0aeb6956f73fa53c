from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from detector_grpc.cli import main
from detector_grpc.serving.remote import wire

if TYPE_CHECKING:
    from pathlib import Path

FREE_PORTS = ("--server-port", "0", "--server-metrics-port", "0", "--server-admin-port", "0")


def examine(*flags: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["doctor", "--json", *FREE_PORTS, *flags])
    return result.exit_code, {finding["what"]: finding for finding in json.loads(result.stdout)}


def test_a_machine_that_can_serve_has_no_fault() -> None:
    exit_code, findings = examine("--demo")
    assert exit_code == 0
    assert {
        "ONNX Runtime",
        "provider",
        "codes v1",
        "codes v2",
        "threads",
        "memory",
        "gRPC port",
        "admin port",
    } <= findings.keys()
    assert all(finding["verdict"] != "fault" for finding in findings.values())


def test_table_says_the_same_as_json() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["doctor", *FREE_PORTS, "--demo"])
    assert result.exit_code == 0
    assert "codes v1" in result.stdout
    assert "256 x 256" in result.stdout


def test_the_table_shows_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["doctor", *FREE_PORTS, "--demo"])
    assert "detector-grpc[tracking]" in result.stdout


def test_no_models_is_a_fault_that_says_what_to_set() -> None:
    exit_code, findings = examine()
    assert exit_code == 1
    assert "DETECTOR_MODELS_REPOSITORY" in findings["models"]["detail"]


def test_a_corrupt_model_is_a_fault_of_its_version_only(tmp_path: Path) -> None:
    folder = tmp_path / "street" / "v1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"not a model")
    exit_code, findings = examine("--demo", "--models-repository", str(tmp_path))
    assert exit_code == 1
    assert findings["street v1"]["verdict"] == "fault"
    assert findings["codes v1"]["verdict"] == "ok"


def test_a_set_path_that_is_missing_names_its_variable(tmp_path: Path) -> None:
    _, findings = examine("--model-v1-path", str(tmp_path / "absent.onnx"))
    assert findings["yolov9 v1"]["verdict"] == "fault"
    assert "MODEL_V1_PATH" in findings["yolov9 v1"]["detail"]


def test_a_provider_that_is_not_there_is_a_fault_that_names_those_that_are() -> None:
    exit_code, findings = examine("--demo", "--runtime-provider", "CUDAExecutionProvider")
    assert exit_code == 1
    assert "CPUExecutionProvider" in findings["provider"]["detail"]


def test_models_are_looked_at_also_where_they_cannot_be_run() -> None:
    _, findings = examine("--demo", "--runtime-provider", "CUDAExecutionProvider")
    assert findings["codes v1"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("provider", "advice"),
    [("CPUExecutionProvider", "no DETECTOR_RUNTIME_ENGINE"), ("CUDAExecutionProvider", "`detector-grpc engine`")],
)
def test_an_engine_that_is_not_there_is_a_fault_that_says_what_to_do(
    tmp_path: Path, provider: str, advice: str
) -> None:
    flags = ("--runtime-engine", str(tmp_path / "engine"), "--runtime-provider", provider)
    exit_code, findings = examine("--demo", *flags)
    assert exit_code == 1
    assert findings["engine"]["verdict"] == "fault"
    assert advice in findings["engine"]["detail"]
    assert findings["codes v1"]["verdict"] == "ok"


def test_an_engine_that_is_there_needs_no_gpu_here(tmp_path: Path) -> None:
    flags = ("--runtime-engine", str(tmp_path / "engine"), "--runtime-provider", "CUDAExecutionProvider")
    with wire.listen(tmp_path / "engine"):
        exit_code, findings = examine(*flags)
    assert exit_code == 1  # there is no model
    assert findings["engine"]["verdict"] == "ok"
    assert "provider" not in findings


def test_tracking_is_said_to_be_there() -> None:
    _, findings = examine("--demo")
    assert findings["tracking"]["verdict"] == "ok"


def test_tracking_that_is_not_installed_is_a_warning_that_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    exit_code, findings = examine("--demo")
    assert exit_code == 0
    assert findings["tracking"]["verdict"] == "warning"
    assert "detector-grpc[tracking]" in findings["tracking"]["detail"]


@pytest.mark.parametrize(
    ("flag", "what"),
    [
        ("--server-port", "gRPC port"),
        ("--server-metrics-port", "metrics port"),
        ("--server-admin-port", "admin port"),
    ],
)
def test_a_busy_port_is_a_fault(flag: str, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        exit_code, findings = examine("--demo", flag, str(port))
    assert exit_code == 1
    assert [name for name, finding in findings.items() if finding["verdict"] == "fault"] == [what]
    assert str(port) in findings[what]["detail"]


def test_more_memory_for_requests_than_there_is_is_a_warning() -> None:
    exit_code, findings = examine("--demo", "--limits-max-bytes-in-flight", str(2**50))
    assert exit_code == 0
    assert findings["memory"]["verdict"] == "warning"


def test_a_default_version_that_is_not_there_is_a_warning() -> None:
    _, findings = examine("--demo", "--models-default-version", "v9")
    assert findings["default version"]["verdict"] == "warning"


def test_unreadable_files_for_access_are_faults(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.pem")
    exit_code, findings = examine("--demo", "--tls-certificate", absent, "--tls-private-key", absent)
    assert exit_code == 1
    assert absent in findings["TLS"]["detail"]


def test_wrong_settings_are_all_named_and_nothing_is_examined() -> None:
    result = CliRunner().invoke(main, ["doctor", "--server-port", "x", "--limits-max-queue", "-1"])
    assert result.exit_code == 2
    assert "DETECTOR_SERVER_PORT" in result.stderr
    assert "DETECTOR_LIMITS_MAX_QUEUE" in result.stderr
    assert "Traceback" not in result.output


def test_doors_that_are_open_to_anybody_are_a_warning_that_names_them() -> None:
    flags = ("--auth-mode", "open", "--server-host", "127.0.0.1", "--server-admin-host", "127.0.0.2")
    exit_code, findings = examine("--demo", *flags)
    assert exit_code == 0
    assert findings["callers"]["verdict"] == "warning"
    assert "127.0.0.1 or 127.0.0.2" in findings["callers"]["detail"]


def test_it_says_where_samples_are_kept_or_why_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = {
        flags: examine("--demo", *flags.split())[1]["samples"]
        for flags in (
            "--capture-sink off",
            f"--capture-state {tmp_path}/new",
            f"--capture-sink s3 --capture-state {tmp_path} --capture-s3-endpoint http://127.0.0.1:9",
            "--capture-sink s3 --capture-s3-endpoint nowhere",
        )
    }
    off, folder, away, nonsense = kept.values()

    assert (off["verdict"], off["detail"]) == ("ok", "none are kept (DETECTOR_CAPTURE_SINK)")
    assert folder["detail"] == f"kept in {tmp_path}/new until they are in {tmp_path}/new/samples"
    assert away["verdict"] == "warning"
    assert nonsense["verdict"] == "fault"
    assert not (tmp_path / "new").exists()
