"""Video files and a camera."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import cv2
import numpy as np

from support.pictures import jpeg, qr_picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def moving_code(count: int, step_px: int = 4) -> list[NDArray[np.uint8]]:
    """uint8 (360, 480, 3) RGB: a QR code that moves to the right."""
    return [qr_picture(x=60 + step_px * number).image for number in range(count)]


def write_video(path: Path, images: Sequence[NDArray[np.uint8]], fps: float = 10) -> Path:
    """Writes uint8 (H, W, 3) RGB as an MP4 file."""
    height, width = images[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(np.ascontiguousarray(image[:, :, ::-1]))
    writer.release()
    return path


def read_video(path: Path) -> list[NDArray[np.uint8]]:
    """All frames of a file, uint8 (H, W, 3) RGB."""
    capture, images = cv2.VideoCapture(str(path)), list[np.ndarray]()
    while capture.grab():
        images.append(capture.retrieve()[1][:, :, ::-1])
    capture.release()
    return images


@contextmanager
def camera(frames_per_connection: int, connections: int = 1000) -> Iterator[str]:
    """Address of a camera, MJPEG over HTTP, that hangs up after so many frames, and is gone after so many calls."""
    left = iter(range(connections))
    files = [jpeg(image) for image in moving_code(10)]

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if next(left, None) is None:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for file in itertools.islice(itertools.cycle(files), frames_per_connection):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(file)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + file + b"\r\n")
                except OSError:  # nobody looks any more
                    return
                time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hall"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
