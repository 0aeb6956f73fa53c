"""One command brings a detector of people to a server that goes on answering.

The model and the video are not part of the project; they lie in `shared/data` beside it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import pytest
from support.calls import SERVING, connected, encoded_request
from support.onnx_files import tiny_onnx
from support.origin import origin
from support.pictures import jpeg
from support.reference import DATA, MODELS
from support.servers import DEFAULTS, PATIENCE_S, server_process

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the model and the video are not beside the project")

SECONDS = (8, 32, 86)  # of the video: at each, somebody is well in the picture


def frames() -> list[bytes]:
    capture = cv2.VideoCapture(str(DATA / "video" / "people.mp4"))
    found = []
    for second in SECONDS:
        capture.set(cv2.CAP_PROP_POS_MSEC, second * 1e3)
        found.append(jpeg(capture.read()[1][:, :, ::-1]))
    return found


def test_people_are_found_after_one_command_though_the_connection_is_cut_twice(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    content = (MODELS / "yolox_nano.onnx").read_bytes()
    with (
        origin(content, cuts=[1_000_000, 1_500_000]) as mirror,
        server_process(repository=tmp_path, models_default_model="tiny") as server,
        connected(server.address) as client,
    ):
        client.wait_for_status(SERVING)
        done = subprocess.run(
            (sys.executable, "-m", "detector_grpc", "models", "pull", "yolox-nano",
             "--models-mirror", mirror.url, "--models-repository", tmp_path, "--admin-address", server.admin_address),
            env=DEFAULTS | {"NO_PROXY": "127.0.0.1"}, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip

        assert done.returncode == 0, done.stderr
        assert mirror.starts == ["", "bytes=1000000-", "bytes=2500000-"]
        assert done.stderr.count("trying again") == 2
        assert f"{server.admin_address}: yolox-nano v1 is ready" in done.stdout
        for frame in frames():
            answer = client.detect(encoded_request(frame, model="yolox-nano", version="v1"))
            people = [each for each in answer.detections if each.class_name == "person" and each.confidence > 0.5]
            assert people
            assert answer.model_digest in done.stdout
