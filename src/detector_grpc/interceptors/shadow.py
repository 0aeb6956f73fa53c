"""Sends copies of answered calls to another version, and counts how far the two agree.

The gateway marks the calls; the answer has left before anything of this begins, and nothing of it can change or delay
one. Copies are bounded in number a second, in calls at once and in bytes; what is over that is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client import Counter, Histogram

from detector_grpc.interceptors.metrics import BUCKETS_S
from detector_grpc.vision.agreement import Labelled, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from detector_grpc.serving.copies import Copied
    from detector_grpc.serving.outcome import Call, Outcome
    from detector_grpc.serving.pipeline import PictureRequest, Result

log = logging.getLogger(__name__)

LABELS = ("model", "version", "shadow")
COPY_OUTCOMES = ("compared", "failed", "dropped")
BOX_OUTCOMES = ("agree", "class_differs", "missed", "extra")
# Sums over pictures of which the variance of a ratio of two sums is made; a is boxes that agree, n all boxes.
MOMENTS = ("aa", "an", "nn")


class ShadowLimits(NamedTuple):
    """What copies may take.

    Attributes:
        max_bytes: Bytes of pictures that wait for their copy to be answered.
        max_calls: Copies at once.
        max_per_s: Copies a second.
    """

    max_bytes: int
    max_calls: int
    max_per_s: float


class Sender(Protocol):
    """Asks other versions."""

    async def send(self, request: PictureRequest, model: str, version: str, request_id: str) -> Copied:
        """Has a version look at the picture of the call with this id."""

    async def close(self) -> None:
        """Ends what it holds."""


class Shadow:
    """Observes outcomes, of which some are copied. Belongs to one event loop.

    Args:
        sender: Sends copies; closed with this.
        limits: What copies may take.
        collectors: Where the metrics are registered.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        sender: Sender,
        limits: ShadowLimits,
        collectors: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender = sender
        self._limits = limits
        self._clock = clock
        self._next_at = clock()
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(limits.max_calls)
        self._copies = Counter(
            "object_detection_shadow_copies",
            "Calls that the gateway chose to be copied, by what became of the copy",
            (*LABELS, "outcome"),
            registry=collectors,
        )
        self._pictures = Counter(
            "object_detection_shadow_pictures",
            "Compared pictures, by whether all boxes agree",
            (*LABELS, "same"),
            registry=collectors,
        )
        self._boxes = Counter(
            "object_detection_shadow_boxes",
            "Boxes of compared pictures, matched at an overlap of 0.5, as the version that was asked first sees them",
            (*LABELS, "outcome"),
            registry=collectors,
        )
        self._moments = Counter(
            "object_detection_shadow_box_moments",
            "Sums over compared pictures of products of boxes that agree (a) and all boxes (n)",
            (*LABELS, "moment"),
            registry=collectors,
        )
        self._durations = Histogram(
            "object_detection_shadow_duration_seconds",
            "Time that the same pictures took at either version, without waiting for a worker",
            (*LABELS, "side"),
            buckets=BUCKETS_S,
            registry=collectors,
        )
        self._squares = Counter(
            "object_detection_shadow_duration_difference_squares_seconds",
            "Sum over compared pictures of the squared difference of those times",
            LABELS,
            registry=collectors,
        )

    def observe(self, outcome: Outcome) -> None:
        """Sends a copy if the gateway wants one."""
        call = outcome.call
        if not call.shadow or outcome.frame_id is not None or outcome.result is None or outcome.request is None:
            return
        labels = call.model, call.version, call.shadow
        size = len(outcome.request.image.data)
        now = self._clock()
        if self._bytes + size > self._limits.max_bytes or now < self._next_at:
            self._copies.labels(*labels, "dropped").inc()
            return
        self._next_at = max(self._next_at, now - 1) + 1 / self._limits.max_per_s
        self._bytes += size
        seen = Labelled(
            outcome.result.detections.xyxy,
            [outcome.class_names[class_id] for class_id in outcome.result.detections.class_id.tolist()],
        )
        task = asyncio.create_task(self._copy(outcome.request, call, seen, _duration_s(outcome.result)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives up the copies that have not been answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sender.close()

    async def _copy(self, request: PictureRequest, call: Call, seen: Labelled, duration_s: float) -> None:
        labels = call.model, call.version, call.shadow
        became = "dropped"
        try:
            async with self._places:
                copied = await self._sender.send(request, call.model, call.shadow, call.request_id)
            self._count(labels, seen, duration_s, copied)
            became = "compared"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is only a copy
            became = "failed"
            log.warning("a copy failed", extra={"request_id": call.request_id, "cause": str(error)})
        finally:
            self._bytes -= len(request.image.data)
            self._copies.labels(*labels, became).inc()

    def _count(self, labels: tuple[str, str, str], seen: Labelled, duration_s: float, copied: Copied) -> None:
        found = compare(seen, copied.found)
        for outcome, boxes in zip(BOX_OUTCOMES, found, strict=True):
            self._boxes.labels(*labels, outcome).inc(boxes)
        agree, all_boxes = found.agree, sum(found)
        self._pictures.labels(*labels, str(agree == all_boxes).lower()).inc()
        for moment, product in zip(MOMENTS, (agree**2, agree * all_boxes, all_boxes**2), strict=True):
            self._moments.labels(*labels, moment).inc(product)
        self._durations.labels(*labels, "first").observe(duration_s)
        self._durations.labels(*labels, "copy").observe(copied.duration_s)
        self._squares.labels(*labels).inc((copied.duration_s - duration_s) ** 2)


def _duration_s(result: Result) -> float:
    timing = result.timing
    return sum(timing) - timing.queue_s
