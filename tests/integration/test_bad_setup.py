"""What the operator got wrong: a bad version is that version's trouble alone, a bad setting ends the process."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.calls import NOT_SERVING, SERVING, connected, encoded_request
from support.certificates import Authority
from support.onnx_files import tiny_onnx
from support.pictures import png, qr_picture
from support.servers import BUNDLED_MODELS, SERVE, failed_start, server_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PICTURE = png(qr_picture().image)
SETUP_EXIT_CODE = 2


class Broken(NamedTuple):
    """A version that cannot be served: how it comes about, and what the log must say of it."""

    name: str
    make: Callable[[Path], object]
    said: tuple[str, ...]


def with_manifest(text: str, **model: object) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        tiny_onnx(folder / "model.onnx", **model)
        (folder / "manifest.yaml").write_text(text, encoding="utf-8")

    return make


def model(**options: object) -> Callable[[Path], object]:
    return lambda folder: tiny_onnx(folder / "model.onnx", **options)


def file(data: bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(data)

    return make


BROKEN = [
    Broken("empty file", file(b""), ("model.onnx", "cannot load")),
    Broken("text file", file(b"version https://git-lfs.github.com/spec/v1"), ("model.onnx", "cannot load")),
    Broken("cut file", file((BUNDLED_MODELS / "codes/v1/model.onnx").read_bytes()[:100_000]), ("cannot load",)),
    Broken("no detection output", model(output_shape=(1, 1000)), ("no head that we know", "[1, 1000]")),
    Broken("outputs of several readings", model(output_shape=(1, 84, 8)), ("head", "yolov5", "yolox", "manifest.yaml")),
    Broken("names that are too few", model(classes=3, names='["a", "b"]'), ("2 class names", "3 classes")),
    Broken("names that repeat", model(classes=2, names='["a", "a"]'), ("more than once", "'a'")),
    Broken("names that are no names", model(names="import os"), ('"names"', "class_names")),
    Broken(
        "labels of the manifest that are too many",
        with_manifest("class_names: [a, b, c]", classes=2),
        ("manifest.yaml", "3 class names", "2 classes"),
    ),
    Broken(
        "unknown keys in the manifest",
        with_manifest("class_name: [a, b]\noptions: {confidence: 0.5}"),
        ("manifest.yaml", "class_name", "options.confidence"),
    ),
    Broken(
        "a threshold out of range in the manifest",
        with_manifest("options: {confidence_threshold: 5, iou_threshold: -1}"),
        ("options.confidence_threshold", "options.iou_threshold"),
    ),
    Broken(
        "a threshold for an unknown class in the manifest",
        with_manifest("options: {class_confidence_thresholds: {cat: 0.5}}", names='["a", "b"]'),
        ("class_confidence_thresholds", "cat"),
    ),
    Broken("a manifest that is no YAML", with_manifest("options: {"), ("manifest.yaml", "not YAML")),
    Broken("a manifest that is a list", with_manifest("- a\n- b"), ("manifest.yaml",)),
]


class TestVersionThatCannotBeServed:
    def test_is_not_serving_the_log_says_why_and_the_good_one_answers(self, tmp_path: Path) -> None:
        good = tmp_path / "codes" / "v1"
        good.parent.mkdir()
        good.symlink_to(BUNDLED_MODELS / "codes" / "v1")
        for number, broken in enumerate(BROKEN):
            broken.make(tmp_path / "codes" / f"broken-{number}")

        with server_process(repository=tmp_path) as server, connected(server.address) as client:
            client.wait_for_status(SERVING)

            assert client.status("models/codes/versions/v1") == SERVING
            assert client.detect(encoded_request(PICTURE)).detections
            for number, broken in enumerate(BROKEN):
                version = f"broken-{number}"
                assert client.status(f"models/codes/versions/{version}") == NOT_SERVING, broken.name
                (failed,) = server.log("version failed", model="codes", version=version)
                missing = [part for part in broken.said if part not in failed["cause"]]
                assert missing == [], (broken.name, failed["cause"])
                assert failed["level"] == "ERROR"
        assert "Traceback" not in server.text

    @pytest.mark.parametrize("variable", ["MODEL_V1_PATH", "MODEL_V2_PATH"])
    def test_whose_path_was_set_and_does_not_exist_is_named_by_its_variable(
        self, tmp_path: Path, variable: str
    ) -> None:
        missing = tmp_path / "missing.onnx"
        version = variable.split("_")[1].lower()
        others = {"V1": "MODEL_V2_PATH", "V2": "MODEL_V1_PATH"}[version.upper()]
        settings = {variable: missing, others: tiny_onnx(tmp_path / "there.onnx"), "models_default_model": "mounted"}

        with server_process(**settings) as server, connected(server.address) as client:
            client.wait_for_status(SERVING)
            cause = server.log("version failed", version=version)[0]["cause"]

            assert variable in cause
            assert str(missing) in cause
            assert client.status(f"models/mounted/versions/{version}") == NOT_SERVING

    def test_leaves_a_server_that_has_no_other_alive_and_not_serving(self, tmp_path: Path) -> None:
        with server_process(MODEL_V1_PATH=tmp_path / "missing.onnx") as server, connected(server.address) as client:
            server.wait_for_log("version failed", version="v1")

            assert client.status() == NOT_SERVING
            assert server.process.poll() is None


class TestServerWithoutModels:
    def test_stays_not_serving_and_says_what_to_set(self) -> None:
        with server_process() as server, connected(server.address) as client:
            logged = server.wait_for_log(
                "there are no models: set DETECTOR_MODELS_REPOSITORY or MODEL_V1_PATH, or try --demo; "
                "going on, NOT_SERVING"
            )

            assert logged["level"] == "ERROR"
            assert client.status() == NOT_SERVING

    def test_a_repository_without_versions_says_what_lies_there_instead(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "street" / "v1" / "yolo.onnx")
        with server_process(repository=tmp_path) as server:
            logged = server.wait_for_log(
                f"there are no models: {tmp_path} has no <model>/<version>/model.onnx; there are street/v1/yolo.onnx; "
                "going on, NOT_SERVING"
            )
        assert logged["level"] == "ERROR"


class TestSetup:
    @pytest.mark.parametrize("provider", ["TensorrtExecutionProvider", "cuda"])
    def test_with_an_execution_provider_that_is_not_there_says_which_there_are(self, provider: str) -> None:
        code, said = failed_start(runtime_provider=provider)

        assert code == SETUP_EXIT_CODE
        assert f"{provider} (DETECTOR_RUNTIME_PROVIDER) is not available in this ONNX Runtime" in said
        assert "CPUExecutionProvider" in said
        assert "detector-grpc[gpu]" in said

    @pytest.mark.parametrize("command", ["serve", "engine"])
    def test_with_an_engine_process_and_a_provider_that_runs_in_servers_says_what_to_set(
        self, tmp_path: Path, command: str
    ) -> None:
        code, said = failed_start((*SERVE[:-1], command), runtime_engine=tmp_path / "engine")

        assert code == SETUP_EXIT_CODE
        assert "CPUExecutionProvider (DETECTOR_RUNTIME_PROVIDER) runs in the servers themselves" in said
        assert "CUDAExecutionProvider" in said
        assert "DETECTOR_RUNTIME_ENGINE" in said

    def test_of_an_engine_process_with_a_provider_that_is_not_there_ends_it(self, tmp_path: Path) -> None:
        settings = {"runtime_engine": tmp_path / "engine", "runtime_provider": "CUDAExecutionProvider"}
        code, said = failed_start((*SERVE[:-1], "engine"), **settings)

        assert code == SETUP_EXIT_CODE
        assert "CUDAExecutionProvider (DETECTOR_RUNTIME_PROVIDER) is not available in this ONNX Runtime" in said
        assert not (tmp_path / "engine").exists()

    def test_of_a_server_with_several_processes_says_who_starts_them(self) -> None:
        with server_process(WORKERS=4) as server:
            server.wait_for_log("WORKERS is for `up`: `serve` is one process", workers=4, level="WARNING")

    def test_with_a_certificate_and_the_key_of_another_names_both(self, tmp_path: Path) -> None:
        authority = Authority("test")
        certificate, _ = authority.server().write(tmp_path, "one")
        _, key = authority.server().write(tmp_path, "other")

        code, said = failed_start(tls_certificate=certificate, tls_private_key=key)

        assert code == SETUP_EXIT_CODE
        assert f"{certificate} and {key} are no PEM files of a certificate and its private key" in said

    def test_with_a_port_in_use_names_the_address(self) -> None:
        with server_process() as first:
            code, said = failed_start(server_port=first.port)

        assert code == SETUP_EXIT_CODE
        assert f"127.0.0.1:{first.port}" in said
        assert "DETECTOR_SERVER_PORT" in said
        assert "Traceback" not in said

    def test_with_a_metrics_port_in_use_names_address_and_variable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            code, said = failed_start(server_metrics_port=port)

        assert code == SETUP_EXIT_CODE
        assert f"127.0.0.1:{port}" in said
        assert "DETECTOR_SERVER_METRICS_PORT" in said
        assert "Traceback" not in said

    def test_with_an_admin_port_in_use_names_address_and_variable(self) -> None:
        with server_process() as first:
            code, said = failed_start(server_admin_port=first.admin_port)

        assert code == SETUP_EXIT_CODE
        assert f"127.0.0.1:{first.admin_port}" in said
        assert "DETECTOR_SERVER_ADMIN_PORT" in said
        assert "Traceback" not in said

    def test_with_an_admin_port_beyond_loopback_and_no_callers_says_what_to_set(self) -> None:
        code, said = failed_start(server_admin_host="0.0.0.0")  # noqa: S104 - it must be refused

        assert code == SETUP_EXIT_CODE
        assert "DETECTOR_SERVER_ADMIN_HOST 0.0.0.0 is not loopback" in said
        assert "DETECTOR_AUTH_CALLERS_FILE" in said

    def test_with_a_missing_repository_names_it(self, tmp_path: Path) -> None:
        code, said = failed_start(repository=tmp_path / "missing")

        assert code == SETUP_EXIT_CODE
        assert str(tmp_path / "missing") in said
        assert "Traceback" not in said

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
    def test_with_an_unreadable_repository_names_it(self, tmp_path: Path) -> None:
        tmp_path.chmod(0)
        try:
            code, said = failed_start(repository=tmp_path)
        finally:
            tmp_path.chmod(0o700)

        assert code == SETUP_EXIT_CODE
        assert str(tmp_path) in said

    def test_with_a_repository_that_is_a_file_names_it(self, tmp_path: Path) -> None:
        code, said = failed_start(repository=tiny_onnx(tmp_path / "model.onnx"))

        assert code == SETUP_EXIT_CODE
        assert str(tmp_path / "model.onnx") in said

    def test_with_a_version_name_that_cannot_be_used_names_it(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v 1" / "model.onnx")

        code, said = failed_start(repository=tmp_path)

        assert code == SETUP_EXIT_CODE
        assert '"v 1"' in said

    def test_with_one_version_from_two_places_names_both(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        mounted = tiny_onnx(tmp_path / "mounted.onnx")

        code, said = failed_start(repository=tmp_path, models_default_model="tiny", MODEL_V1_PATH=mounted)

        assert code == SETUP_EXIT_CODE
        assert str(tmp_path / "tiny" / "v1") in said
        assert "MODEL_V1_PATH" in said

    def test_with_two_faults_names_both_at_once(self) -> None:
        code, said = failed_start(server_port="http", limits_max_queue=-3)

        assert code == SETUP_EXIT_CODE
        assert "DETECTOR_SERVER_PORT" in said
        assert "'http'" in said
        assert "DETECTOR_LIMITS_MAX_QUEUE" in said
        assert "-3" in said
        assert "Traceback" not in said

    def test_with_a_misspelt_setting_names_it(self) -> None:
        code, said = failed_start(server_prot=1)

        assert code == SETUP_EXIT_CODE
        assert "DETECTOR_SERVER_PROT: there is no such setting" in said

    def test_with_a_wrong_value_names_the_variable_as_the_operator_wrote_it(self) -> None:
        code, said = failed_start(LOG_LEVEL="loud")

        assert code == SETUP_EXIT_CODE
        assert "LOG_LEVEL" in said
        assert "DETECTOR_LOG_LEVEL" not in said
        assert "'loud'" in said
