"""Frames with their boxes drawn, as a video file."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import cv2

from detector_grpc.client import draw
from detector_grpc.errors import ImageError
from detector_grpc.vision.decode import MAX_PIXELS, open_encoded
from detector_grpc.vision.letterbox import Letterbox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.client import DetectionResult, StreamAnswer, StreamFrame

SUFFIX = ".mp4"
_CODEC = cv2.VideoWriter.fourcc(*"mp4v")


class VideoFailed(Exception):
    """A video that cannot be written, in one sentence for people."""


class AnnotatedVideo:
    """Writes frames on a thread of its own, one at a time.

    A frame without a result has the boxes of the one before: the video keeps its length, and boxes do not flicker.

    Args:
        path: The file, MP4; its folder is made.
        fps: Frames per second.

    Attributes:
        path: The file.
        frames: Number of frames in it; it is made with the first.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.frames = 0
        self._fps = fps
        self._thread = ThreadPoolExecutor(1, "annotated-video")
        self._writer = cv2.VideoWriter()
        self._wh = (0, 0)
        self._result: DetectionResult | None = None

    async def write(self, answer: StreamAnswer[StreamFrame]) -> None:
        """Writes a frame.

        Raises:
            VideoFailed: The file cannot be written.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, answer)

    async def close(self) -> None:
        """Makes it a file that can be played."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.release)
        self._thread.shutdown()

    def _write(self, answer: StreamAnswer[StreamFrame]) -> None:
        image = _pixels(answer.frame)
        if image is None:
            return
        if answer.result is not None:
            self._result = answer.result
        height, width = image.shape[:2]
        if self._result is not None and self._result.image_wh == (width, height):
            image = draw(image, self._result, "BGR")
        if not self.frames:
            self._open(width, height)
        if (width, height) != self._wh:
            image = Letterbox.fit((width, height), self._wh[::-1], "letterbox").apply(image, 0)
        self._writer.write(image)
        self.frames += 1

    def _open(self, width: int, height: int) -> None:
        self._wh = (width, height)
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._writer.open(str(self.path), cv2.CAP_FFMPEG, _CODEC, self._fps, self._wh):
            raise VideoFailed(f"{click.format_filename(self.path)} cannot be written as a video")


def _pixels(frame: StreamFrame) -> NDArray[np.uint8] | None:
    """uint8 (H, W, 3), BGR, upright; None if it is a file that is no picture."""
    if not isinstance(frame.picture, Path):
        return cast("NDArray[np.uint8]", frame.picture)
    try:
        stored = open_encoded(frame.picture.read_bytes(), MAX_PIXELS)
        return stored.pixels(stored.image_wh)[:, :, ::-1]
    except (ImageError, OSError):
        return None
