"""A server on OpenVINO says so, and answers what one on ONNX Runtime does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import SERVING, connected
from support.scenes import SCENES
from support.servers import BUNDLED_MODELS, PATIENCE_S, server_process

from detector_grpc.cli import main
from detector_grpc.client import Detector
from detector_grpc.serving import repository
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import read_version
from detector_grpc.serving.session import OPENVINO, OnnxFile

PICTURES = [(SCENES / name).read_bytes() for name in ("desk.jpg", "parcel.jpg", "shelf.jpg")]


@pytest.mark.parametrize("threads", [0, 1])
def test_a_server_on_openvino(threads: int) -> None:
    pipeline = read_version(repository.stored(BUNDLED_MODELS / "codes" / "v1"), OnnxFile, 2**24).pipeline
    settings = {"runtime_workers": 2, "runtime_intra_op_threads": threads, "runtime_provider": OPENVINO}
    with server_process(repository=BUNDLED_MODELS, **settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        with Detector(server.address, "codes", "v1") as detector:
            assert {version.execution_provider for version in detector.models()} == {OPENVINO}
            for picture in PICTURES:
                expected = pipeline.detect(EncodedImage(picture), RequestedOptions()).detections
                found = detector.detect(picture)
                np.testing.assert_array_equal(found.class_id, expected.class_id)
                np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.1)
                np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)


FIRST_AT_ONCE = """
import sys, threading
from detector_grpc.serving.openvino import import_openvino

def use():
    together.wait()
    import_openvino().Type.f32.to_dtype()

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_versions_that_are_opened_at_once_do_not_wait_for_each_other() -> None:
    subprocess.run([sys.executable, "-c", FIRST_AT_ONCE], check=True, timeout=PATIENCE_S)


def test_where_it_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = CliRunner().invoke(
        main, ["serve", "--runtime-provider", OPENVINO, "--models-repository", str(BUNDLED_MODELS)]
    )
    assert done.exit_code == 2
    assert "pip install 'detector-grpc[cpu,openvino]'" in done.stderr
