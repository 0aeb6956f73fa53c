"""Debian's Chromium, headless, and what it can be shown."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import pytest
from playwright.sync_api import expect, sync_playwright

from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}

_FLAGS = (
    "--no-sandbox",  # needs rights that containers do not have; the only site it sees is ours
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


expect.set_options(timeout=PATIENCE_S * 1e3)


@contextmanager
def chromium(camera: Path | None = None) -> Iterator[Browser]:
    """A browser; skips the test where there is none, unless CI promises one.

    Args:
        camera: What its camera sees, as `write_camera` makes it.
    """
    path = shutil.which("chromium")
    if path is None and "CI" not in os.environ:  # noqa: TID251  no setting of ours
        pytest.skip("there is no chromium on the PATH")
    flags = [*_FLAGS, f"--use-file-for-fake-video-capture={camera}"] if camera else list(_FLAGS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def write_camera(path: Path, picture: Path, width: int = 1280, height: int = 960) -> Path:
    """A film in which nothing happens, for a camera that sees a picture."""
    image = cv2.resize(cv2.imread(str(picture)), (width, height), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    path.write_bytes(encoded * 10)
    return path
