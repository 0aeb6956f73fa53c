"""What is evaluated: anything that finds objects in a picture, such as a model version opened in this process."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from detector_grpc.errors import ImageError
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import open_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from detector_grpc.serving.options import RequestedOptions
    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import ModelFile
    from detector_grpc.vision.detections import Detections


@dataclass(frozen=True)
class Answer:
    """What a target found in one picture.

    Attributes:
        detections: Boxes in px of the upright picture, most confident first.
        total_ms: Milliseconds that the picture took, as seen by who asked.
        stages_ms: Those that its parts took, by name.
    """

    detections: Detections
    total_ms: float
    stages_ms: Mapping[str, float]


class Refused(Exception):
    """Expected. A target cannot use a picture; the message says why."""


class Target(Protocol):
    """Finds objects. `look` may be called by several threads at once.

    Attributes:
        name: For people.
        class_names: By class_id.
        digest: "sha256:" and 64 hexadecimal digits of the model file.
        iou_threshold: Highest overlap of two boxes that it leaves.
    """

    name: str
    class_names: tuple[str, ...]
    digest: str
    iou_threshold: float

    def look(self, picture: bytes) -> Answer:
        """Finds the objects in a picture file.

        Raises:
            Refused: The picture cannot be used.
        """


@dataclass(frozen=True)
class Run:
    """What became of all pictures.

    Attributes:
        target: Who looked at them.
        answers: By the picture's id.
        refused: Why a picture could not be used, by its id.
    """

    target: Target
    answers: Mapping[int, Answer]
    refused: Mapping[int, str]


class OfflineTarget:
    """A version in this process, on the very way that pictures take in a server. See Target.

    Args:
        name: For people.
        source: Where the version comes from.
        open_file: Opens a model file for a look at it.
        max_pixels: Largest width * height of a picture.
        options: How detections are chosen.

    Raises:
        ModelInvalid: The version cannot be served.
    """

    def __init__(
        self,
        name: str,
        source: VersionSource,
        open_file: Callable[[Path], ModelFile],
        max_pixels: int,
        options: RequestedOptions,
    ) -> None:
        loaded = open_version(source, open_file, max_pixels)
        self.name = name
        self.class_names = loaded.spec.class_names
        self.digest = loaded.signature.digest
        self.iou_threshold = options.over(loaded.spec.options, self.class_names).iou_threshold
        self._pipeline = loaded.pipeline
        self._options = options

    def look(self, picture: bytes) -> Answer:
        """See Target."""
        started = time.perf_counter()
        try:
            result = self._pipeline.detect(EncodedImage(picture), self._options)
        except ImageError as error:
            raise Refused(error.message) from error
        total_s = time.perf_counter() - started
        stages_s = {name.removesuffix("_s"): seconds for name, seconds in result.timing._asdict().items()}
        del stages_s["queue"]  # there is none
        return Answer(result.detections, total_s * 1e3, {name: value * 1e3 for name, value in stages_s.items()})


def look_at_all(target: Target, pictures: Mapping[int, Path], workers: int, advance: Callable[[], None]) -> Run:
    """Shows every picture to a target.

    Args:
        target: Who looks at them.
        pictures: Files by id.
        workers: How many it looks at at once.
        advance: Called after every picture.

    Raises:
        Exception: Whatever else than Refused the target raises; the pictures that are left are not looked at.
    """

    def look(path: Path) -> Answer | Refused:
        try:
            return target.look(path.read_bytes())
        except OSError as error:
            return Refused(error.strerror)
        except Refused as refused:
            return refused

    answers, refused = {}, {}
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as threads:
        for key, outcome in zip(pictures, threads.map(look, pictures.values()), strict=True):
            if isinstance(outcome, Refused):
                refused[key] = str(outcome)
            else:
                answers[key] = outcome
            advance()
    return Run(target, answers, refused)
