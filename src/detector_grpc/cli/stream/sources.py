"""Where frames come from: video files, cameras, addresses, and folders of pictures.

Frames are read by whoever iterates, blocking: give them to a thread.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import click
import cv2
import numpy as np

from detector_grpc.cli.detect import pictures_in
from detector_grpc.client import StreamFrame
from detector_grpc.vision.header import FORMAT_NAMES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator

SCHEMES = frozenset({"http", "https", "rtsp", "rtsps"})

# Of pictures in a folder, and of a source that does not say.
PICTURES_FPS = 10.0
FALLBACK_FPS = 25.0
MAX_FPS = 240.0

# Longest silence of an address. Whoever stops waits for it.
TIMEOUT_MS = 4000
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0

# What FFmpeg and OpenCV think of a file or address would be written into the table.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # noqa: TID251 - not a setting of ours, and read by a C library
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class SourceFailed(Exception):
    """A source that cannot be read, in one sentence for people."""


class Source(Protocol):
    """Frames in a row.

    Attributes:
        name: What to call it; without a password.
        is_live: Whether frames come by themselves, and are lost if nobody looks.
        fps: Frames per second as they were taken.
        total: Number of frames; None if it never ends, or nobody knows.
    """

    name: str
    is_live: bool
    fps: float
    total: int | None

    def frames(
        self, stopping: threading.Event, on_state: Callable[[str], None], *, as_if_live: bool
    ) -> Generator[StreamFrame]:
        """Reads frames until there are no more; to be closed by whoever does not read to the end.

        Args:
            stopping: Ends all waiting, and the frames.
            on_state: Told in a few words what keeps the frames from coming; empty when they come again.
            as_if_live: Whether frames of a recording come no faster than they were taken.

        Raises:
            SourceFailed: It cannot be read any more.
        """


def open_source(spec: str, every: int, *, loop: bool) -> Source:
    """Opens what is named on the command line.

    Args:
        spec: Path of a video file or a folder, number of a camera, or an address.
        every: Of so many frames the first one is taken.
        loop: Whether a recording begins again when it ends.

    Raises:
        SourceFailed: There is no such source, or it is none.
    """
    address, path = urlsplit(spec), Path(spec)
    if spec.isdecimal():
        source: Source = Video(int(spec), f"camera {spec}", every, loop=loop)
    elif address.scheme.lower() in SCHEMES:
        source = Video(spec, address._replace(netloc=address.netloc.rpartition("@")[2]).geturl(), every, loop=loop)
    elif path.is_dir():
        source = Folder(path, every, loop=loop)
    elif path.exists():
        source = Video(spec, click.format_filename(path), every, loop=loop)
    else:
        raise SourceFailed(f"{click.format_filename(path)}: there is no such file or folder")
    if source.is_live and loop:
        raise SourceFailed(f"{source.name}: what is live cannot begin again (--loop)")
    return source


class Folder:
    """The pictures in a folder and its subfolders, by name. See Source."""

    is_live = False

    def __init__(self, path: Path, every: int, *, loop: bool) -> None:
        self.name = click.format_filename(path)
        self.fps = PICTURES_FPS
        self._pictures = pictures_in(path)[::every]
        self._loop = loop
        if not self._pictures:
            raise SourceFailed(f"{self.name}: there are no {FORMAT_NAMES} pictures in this folder")
        self.total = None if loop else len(self._pictures)

    def frames(
        self,
        stopping: threading.Event,
        on_state: Callable[[str], None],  # noqa: ARG002 - pictures are always there
        *,
        as_if_live: bool,
    ) -> Generator[StreamFrame]:
        """See Source."""
        clock = _Clock(self.fps, stopping) if as_if_live else None
        for picture in itertools.cycle(self._pictures) if self._loop else self._pictures:
            if clock is not None:
                clock.wait_for_next()
            if stopping.is_set():
                return
            yield StreamFrame(picture)


class Video:
    """What OpenCV reads by FFmpeg, or as a camera. See Source.

    A live one that breaks is opened again and again.
    """

    def __init__(self, target: str | int, name: str, every: int, *, loop: bool) -> None:
        self.name = name
        self._target, self._every, self._loop = target, every, loop
        self._capture = cv2.VideoCapture()
        if not self._open():
            raise SourceFailed(f"{name}: cannot be opened{'' if isinstance(target, int) else ' as a video'}")
        length, fps = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        is_file = isinstance(target, str) and urlsplit(target).scheme.lower() not in SCHEMES
        self.is_live = length <= 0 and not is_file
        self.fps = (fps if 0 < fps <= MAX_FPS else FALLBACK_FPS) / every
        self.total = None if length <= 0 or loop else -(-int(length) // every)

    def frames(
        self, stopping: threading.Event, on_state: Callable[[str], None], *, as_if_live: bool
    ) -> Generator[StreamFrame]:
        """See Source; the capture time of a recording's frame is its place in the recording."""
        clock = _Clock(self.fps, stopping) if as_if_live and not self.is_live else None
        try:
            for number, _ in enumerate(self._grabbed(stopping, on_state)):
                if number % self._every:
                    continue
                if clock is not None:
                    clock.wait_for_next()
                there, image = self._capture.retrieve()
                if there:
                    taken_at = time.time() if self.is_live else number / self._every / self.fps
                    yield StreamFrame(image.astype(np.uint8, copy=False), taken_at)
        finally:
            self._capture.release()

    def _grabbed(self, stopping: threading.Event, on_state: Callable[[str], None]) -> Iterator[None]:
        """Once for every frame that is there to be retrieved."""
        wait_s, any_since_opened = FIRST_WAIT_S, False
        while not stopping.is_set():
            if self._capture.grab():
                if wait_s > FIRST_WAIT_S:
                    on_state("")
                wait_s, any_since_opened = FIRST_WAIT_S, True
                yield
            elif self.is_live:
                on_state(f"lost, next try in {wait_s:.0f} s")
                stopping.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                self._open()
            elif not any_since_opened:
                raise SourceFailed(f"{self.name}: no frame of it can be read")
            elif self._loop:
                any_since_opened = False
                self._open()
            else:
                return

    def _open(self) -> bool:
        if isinstance(self._target, int):
            return self._capture.open(self._target)
        timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS)
        return self._capture.open(self._target, cv2.CAP_FFMPEG, timeouts)


class _Clock:
    """Makes frames of a recording come as they were taken."""

    def __init__(self, fps: float, stopping: threading.Event) -> None:
        self._interval_s = 1 / fps
        self._stopping = stopping
        self._next_at = time.monotonic()

    def wait_for_next(self) -> None:
        """Waits until the next frame is due."""
        self._stopping.wait(max(self._next_at - time.monotonic(), 0))
        self._next_at += self._interval_s
