"""The commands that call a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from support.servers import PATIENCE_S

from detector_grpc._gen.detector.v1 import detector_service_pb2
from detector_grpc.cli import health, main
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Scene, Server

    Run = Callable[..., Result]

DetectRequest = detector_service_pb2.DetectRequest
COMMAND = "from detector_grpc.cli import main; main(prog_name='detector-grpc')"


@pytest.fixture
def run(server: Server) -> Run:
    """Runs a command against the server."""

    def invoke(*arguments: object, **env: str) -> Result:
        return CliRunner().invoke(
            main, [str(argument) for argument in arguments], env={"DETECTOR_ADDRESS": server.address, **env}
        )

    return invoke


@pytest.fixture
def photo(tmp_path: Path, scene: Scene) -> Path:
    path = tmp_path / "photos" / "one.png"
    path.parent.mkdir()
    path.write_bytes(scene.encoded(".png"))
    return path


def test_a_table_shows_the_boxes_of_each_picture(run: Run, photo: Path) -> None:
    done = run("detect", photo)
    assert done.exit_code == 0, done.output
    heading, *table = done.stdout.splitlines()
    assert heading.startswith(f"{photo}  160 x 120 px, red v1: 1 found in ")
    cells = [cell.strip() for cell in table[3].strip("│").split("│")]
    assert cells == ["red [thing]", "0.90", "40.0", "30.0", "100.0", "90.0"]


def test_json_is_one_object_a_line_in_the_order_of_the_arguments(run: Run, photo: Path, scene: Scene) -> None:
    pictures = [photo.with_name(f"{number}.png") for number in range(20)]
    for picture in pictures:
        picture.write_bytes(scene.encoded(".png"))
    done = run("detect", "--json", *pictures)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [answer["picture"] for answer in answers] == [str(picture) for picture in pictures]
    assert answers[0]["detections"] == [
        {"class_id": 2, "class_name": "red [thing]", "confidence": 0.9, "bbox": [40.0, 30.0, 100.0, 90.0]}
    ]
    assert answers[0]["total_ms"] > 0


def test_a_folder_stands_for_the_pictures_in_it(run: Run, photo: Path, scene: Scene) -> None:
    (photo.parent / "deep").mkdir()
    (photo.parent / "deep" / "two.JPG").write_bytes(scene.encoded(".jpg"))
    (photo.parent / "notes.txt").write_text("no picture")
    done = run("detect", "--json", photo.parent)
    assert [json.loads(line)["picture"] for line in done.stdout.splitlines()] == [
        str(photo.parent / "deep" / "two.JPG"),
        str(photo),
    ]


def test_a_folder_stands_for_pictures_of_every_format(run: Run, tmp_path: Path, scene: Scene) -> None:
    names = [f"picture{suffix}" for suffix in (".BMP", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")]
    for name in names:
        (tmp_path / name).write_bytes(scene.encoded(Path(name).suffix.lower()))
    done = run("detect", "--json", tmp_path, "--save", tmp_path / "out")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0, done.output
    assert [answer["picture"] for answer in answers] == [str(tmp_path / name) for name in names]
    assert all(len(answer["detections"]) == 1 for answer in answers)
    drawn = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert drawn == ["picture-2.jpg", "picture-3.jpg", "picture-4.jpg", "picture-5.jpg", "picture-6.jpg",
                     "picture.jpeg", "picture.jpg", "picture.png"]  # fmt: skip


def test_a_folder_without_pictures_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    done = run("detect", tmp_path)
    assert done.exit_code == 2
    assert "no JPEG, PNG, WebP, BMP or TIFF pictures" in done.stderr


def test_options_reach_the_server(run: Run, server: Server, photo: Path) -> None:
    done = run(
        "detect", photo, "--model", "red", "--model-version", "v2", "--confidence", 0.5, "--iou", 0.25,
        "--class", "a", "--class", "b", "--max-detections", 3, "--downscale",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (request,) = server.red.asked(DetectRequest)
    assert (request.model, request.version) == ("red", "v2")
    assert (request.options.confidence_threshold, request.options.iou_threshold) == (0.5, 0.25)
    assert list(request.options.classes) == ["a", "b"]
    assert request.options.max_detections == 3
    assert request.source_size.width == 160


def test_a_picture_that_fails_is_named_and_the_others_go_on(run: Run, photo: Path) -> None:
    broken = photo.with_name("broken.png")
    broken.write_bytes(b"no picture")
    done = run("detect", broken, photo)
    assert done.exit_code == 1
    assert f"Failed: {broken}: INVALID_ARGUMENT: the bytes are no picture" in done.stderr
    assert "1 of 2 pictures failed" in done.stderr
    assert f"{photo}  160 x 120" in done.stdout


def test_a_picture_that_fails_has_its_line_of_json_too(run: Run, photo: Path) -> None:
    photo.write_bytes(b"no picture")
    done = run("detect", "--json", photo)
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "picture": str(photo),
        "error": "INVALID_ARGUMENT: the bytes are no picture",
    }


def test_saved_pictures_have_the_boxes_drawn(run: Run, photo: Path, tmp_path: Path) -> None:
    done = run("detect", photo.parent, "--save", tmp_path / "out")
    assert done.exit_code == 0, done.output
    drawn = cv2.imread(str(tmp_path / "out" / "one.png"))
    assert drawn.shape == (120, 160, 3)
    original = cv2.imread(str(photo))
    assert (drawn != original).any()
    assert (drawn[-5:] == original[-5:]).all()  # in the same colours, where there is no box


def test_saving_never_overwrites_a_picture_of_the_same_run(run: Run, photo: Path, scene: Scene, tmp_path: Path) -> None:
    before = photo.read_bytes()
    namesake = tmp_path / "one.png"
    namesake.write_bytes(scene.encoded(".png"))
    done = run("detect", photo, namesake, "--save", photo.parent)
    assert done.exit_code == 0, done.output
    assert photo.read_bytes() == before
    assert sorted(path.name for path in photo.parent.iterdir()) == ["one-2.png", "one-3.png", "one.png"]


def test_without_a_server_one_sentence_says_so_and_what_to_do(run: Run, server: Server, photo: Path) -> None:
    server.stop()
    for command in (["detect", photo.parent, photo], ["models", "list"], ["health"]):
        done = run(*command)
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"Error: no answer from {server.address} (Connection refused).")
        assert "detector-grpc serve" in done.stderr


def test_without_a_process_that_watches_for_drift_it_is_said_where_one_was_looked_for_and_what_starts_it() -> None:
    done = CliRunner().invoke(main, ["drift", "status"], env={"DETECTOR_DRIFT_PORT": "1"})
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: no answer from localhost:1 ")
    assert "(`detector-grpc drift serve` starts one, --address names another)" in done.stderr


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            "last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused",
            "Connection refused",
        ),
        (
            "[field:hostname lookup error:lookup failed for nosuch.invalid:1: Domain name not found]",
            "Domain name not found",
        ),
        (
            "Tls handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "self signed certificate",
        ),
        ("no healthy upstream", "no healthy upstream"),
    ],
)
def test_the_cause_of_a_failed_connection_is_all_that_is_shown_of_it(
    run: Run, server: Server, message: str, cause: str
) -> None:
    def fail(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNAVAILABLE, message)

    server.red.failure = fail
    assert run("models", "list").stderr.startswith(f"Error: no answer from {server.address} ({cause}). Is a server")


def test_an_error_of_the_server_is_one_line(run: Run, server: Server) -> None:
    server.fail(
        grpc.StatusCode.UNAUTHENTICATED, "no valid token", error_details_pb2.ErrorInfo(reason="UNAUTHENTICATED")
    )
    done = run("models", "list")
    assert (done.exit_code, done.stderr) == (1, "Error: UNAUTHENTICATED (UNAUTHENTICATED): no valid token\n")


def test_the_token_is_read_from_its_file(run: Run, server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert run("models", "list", "--token-file", tmp_path / "token").exit_code == 0
    assert server.red.metadata["authorization"] == "Bearer secret"


def test_models_are_listed_with_the_default_marked(run: Run) -> None:
    done = run("models", "list", COLUMNS="200")
    assert done.exit_code == 0
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if "│" in line]
    assert rows == [
        ["red", "v1 *", "READY", "64 x 48", "3", "xyxy", "CPU", "01234567"],
        ["red", "v2", "LOADING", "", "", "", "", ""],
    ]


def test_models_as_json_hold_everything(run: Run) -> None:
    ready, loading = json.loads(run("models", "list", "--json").stdout)
    assert ready["class_names"] == ["a", "b", "red [thing]"]
    assert ready["digest"].startswith("sha256:")
    assert loading["state"] == "LOADING"


@pytest.mark.parametrize(("status", "exit_code"), [("SERVING", 0), ("NOT_SERVING", 1)])
def test_health_succeeds_only_when_serving(run: Run, server: Server, status: str, exit_code: int) -> None:
    server.health.set("a.Service", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    done = run("health", "a.Service")
    assert (done.exit_code, done.stdout) == (exit_code, f"{status}\n")
    assert json.loads(run("health", "a.Service", "--json").stdout) == {"service": "a.Service", "status": status}


def test_a_service_that_the_server_does_not_know_is_unknown_and_not_serving(run: Run) -> None:
    done = run("health", "unheard.of")
    assert (done.exit_code, done.stdout) == (1, "SERVICE_UNKNOWN\n")


def test_a_watch_prints_every_change_until_it_is_interrupted(server: Server) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "health", "--watch", "--address", server.address],
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout.readline() == "SERVING\n"
        server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert watch.stdout.readline() == "NOT_SERVING\n"
        server.health.set("", health_pb2.HealthCheckResponse.SERVING)
        assert watch.stdout.readline() == "SERVING\n"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE_S) == 0


def test_a_watch_outlives_the_server(server: Server) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "health", "--watch", "--address", server.address],
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout.readline() == "SERVING\n"
        server.stop()
        assert watch.stdout.readline() == "UNREACHABLE\n"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE_S) == 1


def test_a_fault_of_the_setup_is_printed_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SetupInvalid(["the first fault", "the second fault"])

    monkeypatch.setattr(health, "Detector", refuse)
    done = run("health")
    assert (done.exit_code, done.stderr) == (2, "Error: the first fault\nError: the second fault\n")


def test_a_certificate_without_its_key_is_a_usage_error(run: Run, photo: Path) -> None:
    done = run("health", "--tls-cert", photo)
    assert done.exit_code == 2
    assert "go together" in done.stderr


def test_commands_are_imported_only_when_they_run() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\ntry:\n    " + COMMAND + "\nexcept SystemExit:\n    print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "detect" in modules  # from the help
    assert not {"grpc", "cv2", "numpy", "rich.console", "detector_grpc.cli.detect"} & set(modules)


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    done = run("detekt")
    assert done.exit_code == 2
    assert "No such command" in done.stderr


@pytest.mark.parametrize("name", ["detect", "models", "health"])
def test_the_help_of_a_command_begins_with_its_line_in_the_list_of_commands(run: Run, name: str) -> None:
    (summary,) = (line.split(maxsplit=1)[1] for line in run("--help").stdout.splitlines() if line.split()[:1] == [name])
    assert run(name, "--help").stdout.splitlines()[2].strip().startswith(summary)


def test_a_picture_without_objects_has_a_heading_and_no_table(run: Run, photo: Path) -> None:
    photo.write_bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes())
    done = run("detect", photo)
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert ": 0 found in" in done.stdout
    answer = json.loads(run("detect", "--json", photo).stdout)
    assert answer["detections"] == []
    assert "error" not in answer
