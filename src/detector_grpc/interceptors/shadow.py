"""Sends copies of answered calls to another version, and counts how far the two agree.

The gateway marks the calls; a copy is sent when its call has been answered, and nothing that becomes of it can touch
one. Copies are bounded in number a second, in calls at once and in bytes; what is over that is dropped and counted.

Versions are compared, not their names: where either is another model file than before, counting begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from prometheus_client import Counter, Histogram

from detector_grpc.interceptors.metrics import BUCKETS_S
from detector_grpc.serving.copies import BOX_OUTCOMES, METRICS_PREFIX, MOMENTS, SIDES, Seen
from detector_grpc.vision.agreement import Labelled, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from detector_grpc.serving.outcome import Outcome
    from detector_grpc.serving.pipeline import PictureRequest, Result
    from detector_grpc.vision.agreement import Agreement

log = logging.getLogger(__name__)

LABELS = ("model", "version", "shadow")
Pair: TypeAlias = tuple[str, str, str]

# Digests of the model files of both.
Files: TypeAlias = tuple[str, str]

# Whoever reaches a server past the gateway can ask for copies to any name; series are kept for ever.
MAX_PAIRS = 64
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Copies that wait for one of the places, for each of these.
_WAITING_PER_PLACE = 32


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

    async def send(self, request: PictureRequest, model: str, version: str, request_id: str) -> Seen:
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
        compared: Told of every picture that was compared, on the event loop.
    """

    def __init__(
        self,
        sender: Sender,
        limits: ShadowLimits,
        collectors: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
        compared: Sequence[Callable[[Outcome, Agreement], None]] = (),
    ) -> None:
        self._sender = sender
        self._limits = limits
        self._compared = compared
        self._clock = clock
        self._next_at = clock()
        self._bytes = 0
        self._files: dict[Pair, Files | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(limits.max_calls)
        self._copies = Counter(
            f"{METRICS_PREFIX}copies",
            "Calls that the gateway chose to be copied, by what became of the copy",
            (*LABELS, "outcome"),
            registry=collectors,
        )
        self._pictures = Counter(
            f"{METRICS_PREFIX}pictures",
            "Compared pictures, by whether all boxes agree",
            (*LABELS, "same"),
            registry=collectors,
        )
        self._boxes = Counter(
            f"{METRICS_PREFIX}boxes",
            "Boxes of compared pictures, matched at an overlap of 0.5, as the version that was asked first sees them",
            (*LABELS, "outcome"),
            registry=collectors,
        )
        self._moments = Counter(
            f"{METRICS_PREFIX}box_moments",
            "Sums over compared pictures of products of boxes that agree (a) and all boxes (n)",
            (*LABELS, "moment"),
            registry=collectors,
        )
        self._durations = Histogram(
            f"{METRICS_PREFIX}duration_seconds",
            "Time that the same pictures took at either version, without waiting for a worker",
            (*LABELS, "side"),
            buckets=BUCKETS_S,
            registry=collectors,
        )
        self._squares = Counter(
            f"{METRICS_PREFIX}duration_difference_squares_seconds",
            "Sum over compared pictures of the squared difference of those times",
            LABELS,
            registry=collectors,
        )
        self._counted = (
            self._copies,
            self._pictures,
            self._boxes,
            self._moments,
            self._durations,
            self._squares,
        )

    def observe(self, outcome: Outcome) -> None:
        """Sends a copy if the gateway wants one."""
        call = outcome.call
        if not call.shadow or outcome.frame_id is not None or outcome.result is None or outcome.request is None:
            return
        labels = call.model, call.version, call.shadow
        if not self._is_counted(labels):
            return
        size = len(outcome.request.image.data)
        now = self._clock()
        too_many = len(self._tasks) >= _WAITING_PER_PLACE * self._limits.max_calls
        if too_many or self._bytes + size > self._limits.max_bytes or now < self._next_at:
            self._copies.labels(*labels, "dropped").inc()
            return
        self._next_at = max(self._next_at, now - 1) + 1 / self._limits.max_per_s
        self._bytes += size
        found = Labelled(
            outcome.result.detections.xyxy,
            [outcome.class_names[class_id] for class_id in outcome.result.detections.class_id.tolist()],
        )
        first = Seen(found, outcome.model_digest, _duration_s(outcome.result))
        task = asyncio.create_task(self._copy(outcome, outcome.request, first))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives up the copies that have not been answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sender.close()

    def _is_counted(self, labels: Pair) -> bool:
        """Whether these are two versions, and not one too many to have series of their own."""
        _, version, shadow = labels
        if version == shadow or not _VERSION.fullmatch(shadow):
            return False
        if len(self._files) < MAX_PAIRS:
            self._files.setdefault(labels)
        return labels in self._files

    async def _copy(self, outcome: Outcome, request: PictureRequest, first: Seen) -> None:
        call = outcome.call
        labels = call.model, call.version, call.shadow
        became = "dropped"
        try:
            async with self._places:
                copied = await self._sender.send(request, call.model, call.shadow, call.request_id)
            agreement = await asyncio.to_thread(compare, first.found, copied.found)
            self._begin_anew_if_changed(labels, (first.model_digest, copied.model_digest))
            self._count(labels, agreement, first.duration_s, copied.duration_s)
            became = "compared"
            for tell in self._compared:
                tell(outcome, agreement)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is only a copy
            became = "failed"
            log.warning("a copy failed", extra={"request_id": call.request_id, "cause": str(error)})
        finally:
            self._bytes -= len(request.image.data)
            self._copies.labels(*labels, became).inc()

    def _begin_anew_if_changed(self, labels: Pair, files: Files) -> None:
        if self._files[labels] not in (None, files):
            for metric in self._counted:
                metric.remove_by_labels(dict(zip(LABELS, labels, strict=True)))
        self._files[labels] = files

    def _count(self, labels: Pair, found: Agreement, first_s: float, copy_s: float) -> None:
        for outcome, boxes in zip(BOX_OUTCOMES, found, strict=True):
            self._boxes.labels(*labels, outcome).inc(boxes)
        agree, all_boxes = found.agree, sum(found)
        self._pictures.labels(*labels, str(agree == all_boxes).lower()).inc()
        for moment, product in zip(MOMENTS, (agree**2, agree * all_boxes, all_boxes**2), strict=True):
            self._moments.labels(*labels, moment).inc(product)
        for side, seconds in zip(SIDES, (first_s, copy_s), strict=True):
            self._durations.labels(*labels, side).observe(seconds)
        self._squares.labels(*labels).inc((copy_s - first_s) ** 2)


def _duration_s(result: Result) -> float:
    timing = result.timing
    return sum(timing) - timing.queue_s
