"""Pods fetch models as listed, whole and with the digest that was promised, or do not start."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.charts import CHART

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = b"a model" * 1000


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "model.onnx").write_bytes(MODEL)
    handler = partial(_Quiet, directory=str(tmp_path / "there"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def download(folder: Path, url: str, sha256: str) -> tuple[int, str, list[str]]:
    """Exit code, what it said, and the files that are there then."""
    listing = folder / "models.json"
    listing.write_text(json.dumps([{"url": url, "path": "street/v1/model.onnx", "sha256": sha256}]), encoding="utf-8")
    command = [sys.executable, str(CHART / "files" / "download.py"), str(listing), str(folder / "models")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [path.name for path in (folder / "models").rglob("*.onnx")]
    return ended.returncode, ended.stderr, found


def test_a_model_comes_to_its_place(tmp_path: Path, url: str) -> None:
    digest = hashlib.sha256(MODEL).hexdigest()
    assert download(tmp_path, f"{url}/model.onnx", digest) == (0, "", ["model.onnx"])
    assert (tmp_path / "models" / "street" / "v1" / "model.onnx").read_bytes() == MODEL


def test_another_digest_ends_it_with_both(tmp_path: Path, url: str) -> None:
    code, said, found = download(tmp_path, f"{url}/model.onnx", "0" * 64)
    assert (code, found) == (1, [])
    assert said == f"{url}/model.onnx: the SHA-256 is {hashlib.sha256(MODEL).hexdigest()}, not {'0' * 64}\n"


def test_what_is_not_there_is_named(tmp_path: Path, url: str) -> None:
    code, said, found = download(tmp_path, f"{url}/other.onnx", "0" * 64)
    assert (code, found) == (1, [])
    assert said == f"{url}/other.onnx: HTTP Error 404: File not found\n"
