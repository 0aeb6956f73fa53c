"""The golden gate stops a version that is fed or read in another way than when its boxes were approved.

The photos and the model are not part of the project; they lie in `shared/data` beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.calls import NOT_SERVING, SERVING, connected, encoded_request
from support.servers import server_process

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PHOTOS = [DATA / "voc100" / "images" / name for name in ("2007_000032.jpg", "2007_000061.jpg", "2007_000063.jpg")]

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the photos and models are not beside the project")

Manifest = dict[str, Any]


def swapped_labels(manifest: Manifest) -> None:
    names = manifest["class_names"]
    dog, cat = names.index("dog"), names.index("cat")
    names[dog], names[cat] = names[cat], names[dog]


MISTAKES: dict[str, Callable[[Manifest], None]] = {
    "colours": lambda manifest: manifest["input"].update(color_order="RGB"),
    "letterbox": lambda manifest: manifest["input"].update(resize="letterbox"),
    "stretched": lambda manifest: manifest["input"].update(resize="stretch"),
    "labels": swapped_labels,
    "padding": lambda manifest: manifest["input"].update(pad_value=0),
    "scale": lambda manifest: manifest["input"].update(scale=1 / 255),
}


def test_a_mistake_made_by_hand_never_becomes_ready_and_is_told(tmp_path: Path) -> None:
    blessed = tmp_path / "coco" / "v1"
    blessed.mkdir(parents=True)
    (blessed / "model.onnx").symlink_to(DATA / "models" / "yolox_nano.onnx")
    names = (DATA / "models" / "coco80.names").read_text(encoding="utf-8").split("\n")[:80]
    manifest = {"class_names": names, "head": "yolox", "input": {}}
    (blessed / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    command = [sys.executable, "-m", "detector_grpc", "models", "bless", str(blessed), *map(str, PHOTOS)]
    subprocess.run(command, check=True, capture_output=True)
    for name, make in MISTAKES.items():
        wrong = shutil.copytree(blessed, blessed.with_name(name), symlinks=True)
        changed = yaml.safe_load((wrong / "manifest.yaml").read_text(encoding="utf-8"))
        make(changed)
        (wrong / "manifest.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")

    with server_process(repository=tmp_path) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)

        assert client.detect(encoded_request(PHOTOS[0].read_bytes(), version="v1")).detections
        for name in MISTAKES:
            assert client.status(f"models/coco/versions/{name}") == NOT_SERVING
            (failed,) = server.log("version failed", version=name)
            assert "does not reproduce its golden pictures" in failed["cause"]
        (failed,) = server.log("version failed", version="labels")
        assert "is found as cat" in failed["cause"]
