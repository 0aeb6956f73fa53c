"""A reference for drift of a few pictures: each seen many times, as a camera that is moved a little sees it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from detector_grpc.cli.progress import progress_bar
from detector_grpc.drift.block import BLOCK, Block
from detector_grpc.drift.observation import Observation, Watched, observe
from detector_grpc.drift.reference import NEEDED, Reference
from detector_grpc.drift.reference_file import Kept
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector_grpc.serving.pipeline import Pipeline
    from detector_grpc.vision.sample import PictureSample

# A view has at least so much of the sides of its picture, and light that differs by at most so much of it.
_LEAST_SHARE, _MOST_LIGHT = 0.8, 0.15


def reference_of(pictures: Sequence[bytes], watched: Watched, digest: str, pipeline: Pipeline) -> Kept:
    """What a version sees in so many views of the pictures as a reference needs; the same views every time.

    Args:
        pictures: Encoded.
        watched: The version.
        digest: Of its file.
        pipeline: The version.
    """

    def look(view: bytes) -> Observation:
        result = pipeline.detect(EncodedImage(view), RequestedOptions(), sampled=True)
        return observe(cast("PictureSample", result.sample), result.image_wh, result.detections, pipeline.class_names)

    with ThreadPoolExecutor(cpu_limit()) as pool, progress_bar(NEEDED) as bar:
        looks = pool.map(look, _views(pictures))
        seen = list(bar.track(looks, NEEDED, description=f"looking with {watched.version}"))
    now_s = time.time()
    blocks = [Block.of(seen[start : start + BLOCK], now_s) for start in range(0, NEEDED, BLOCK)]
    source = f"{NEEDED} views of {len(pictures)} sample pictures"
    return Kept(watched, digest, Reference(blocks, source, now_s, timeless=True))


def _views(pictures: Sequence[bytes]) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    images = [cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) for picture in pictures]
    for number in range(NEEDED):
        yield _view(np.asarray(images[number % len(images)], np.uint8), rng)


def _view(image: NDArray[np.uint8], rng: np.random.Generator) -> bytes:
    height, width = image.shape[:2]
    share = rng.uniform(_LEAST_SHARE, 1)
    rows, columns = int(height * share), int(width * share)
    top, left = rng.integers(0, height - rows, endpoint=True), rng.integers(0, width - columns, endpoint=True)
    light = 1 + rng.uniform(-_MOST_LIGHT, _MOST_LIGHT)
    seen = np.clip(image[top : top + rows, left : left + columns] * light, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(seen, (width, height)))[1])
