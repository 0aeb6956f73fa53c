"""Observes some pictures and what was found in them, and tells the process that watches for drift.

Workers keep a little of a picture that was chosen beforehand; what follows happens after its answer, on a thread of its
own, and may be lost: then it is counted, and told to whoever watches when that is there again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import prometheus_client

from detector_grpc.drift.observation import Observation, Watched, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from detector_grpc.serving.outcome import Call, Outcome

log = logging.getLogger(__name__)

# How long observations wait for others, and how many of them at most.
SEND_EVERY_S = 1.0
MAX_BATCH = 500
# Pictures that were kept and not looked at yet, of about 100 KB each.
MAX_KEPT = 32


class SampleLimits(NamedTuple):
    """Which pictures are observed.

    Attributes:
        rate: Share of them. Range [0, 1].
        max_per_s: Most of each version in a second.
    """

    rate: float
    max_per_s: float


class Sender(Protocol):
    """Tells whoever watches."""

    async def send(self, watched: Watched, digest: str, observations: Sequence[Observation], lost: int) -> None:
        """Tells a batch, and how many observations could not be told since the last one."""

    async def close(self) -> None:
        """Ends what it holds."""


@dataclass
class _Untold:
    """Of one version and file."""

    observations: list[Observation] = field(default_factory=list)
    lost: int = 0


class DriftObserver:
    """Observes outcomes. Belongs to one event loop.

    Args:
        sender: Tells them; closed with this.
        limits: Which pictures are observed.
        collectors: Where the metric is registered.
        clock: Seconds, monotonic.
        chance: Numbers in [0, 1).
    """

    def __init__(
        self,
        sender: Sender,
        limits: SampleLimits,
        collectors: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sender = sender
        self._limits = limits
        self._clock = clock
        self._chance = chance
        self._next_at: dict[Watched, float] = {}
        self._untold: defaultdict[tuple[Watched, str], _Untold] = defaultdict(_Untold)
        self._kept = 0
        self._thread = ThreadPoolExecutor(1, "drift")
        self._is_away = False
        self._telling: asyncio.Future[None] | None = None
        self._observations = prometheus_client.Counter(
            "object_detection_drift_observations",
            "Pictures that were chosen to be watched for drift, by what became of that",
            ("model", "version", "outcome"),
            registry=collectors,
        )

    def wants(self, call: Call) -> bool:
        """Whether a little is to be kept of the picture that this call is about to have looked at."""
        if call.copy_of or self._chance() >= self._limits.rate:
            return False
        watched, now = Watched(call.model, call.version), self._clock()
        if watched not in self._next_at:
            for outcome in ("told", "lost"):  # or what is lost first would be no increase
                self._observations.labels(*watched, outcome)
        next_at = self._next_at.get(watched, now)
        if now < next_at:
            return False
        self._next_at[watched] = max(next_at, now - 1) + 1 / self._limits.max_per_s
        return True

    def observe(self, outcome: Outcome) -> None:
        """Has a picture looked at of which something was kept."""
        result = outcome.result
        if result is None or result.sample is None:
            return
        watched = Watched(outcome.call.model, outcome.call.version)
        if self._kept >= MAX_KEPT:
            self._lose(watched, outcome.model_digest, 1)
            return
        self._kept += 1
        looking = asyncio.get_running_loop().run_in_executor(
            self._thread,
            observe,
            result.sample,
            result.image_wh,
            result.detections,
            outcome.class_names,
            outcome.call.stream_id,
        )
        looking.add_done_callback(lambda done: self._add(watched, outcome.model_digest, done))

    async def run(self) -> None:
        """Tells what was observed, for good."""
        while True:
            await asyncio.sleep(SEND_EVERY_S)
            self._telling = asyncio.ensure_future(self._tell())
            await asyncio.shield(self._telling)  # or a batch on its way would be lost without being counted

    async def close(self) -> None:
        """Tells what is left, and ends."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._telling is not None:
            await self._telling
        await self._tell()
        await self._sender.close()

    def _add(self, watched: Watched, digest: str, looking: asyncio.Future[Observation]) -> None:
        self._kept -= 1
        untold = self._untold[watched, digest]
        fault = None if looking.cancelled() else looking.exception()
        if fault is not None:
            log.error("a picture could not be observed for drift", exc_info=fault)
        if looking.cancelled() or fault is not None or len(untold.observations) >= MAX_BATCH:
            self._lose(watched, digest, 1)
        else:
            untold.observations.append(looking.result())

    async def _tell(self) -> None:
        """Sends all that is there, once; what cannot be sent is lost."""
        await asyncio.gather(*(self._tell_of(*key) for key, untold in self._untold.items() if untold.observations))

    async def _tell_of(self, watched: Watched, digest: str) -> None:
        untold = self._untold[watched, digest]
        batch, lost = untold.observations, untold.lost
        untold.observations, untold.lost = [], 0
        try:
            await self._sender.send(watched, digest, batch, lost)
        except Exception as error:  # noqa: BLE001 - whatever it is, detection does not depend on it
            untold.lost += lost
            self._lose(watched, digest, len(batch))
            if not self._is_away:
                log.warning("nobody watches for drift; what is observed meanwhile is lost", extra={"cause": str(error)})
            self._is_away = True
        else:
            self._is_away = False
            self._observations.labels(*watched, "told").inc(len(batch))

    def _lose(self, watched: Watched, digest: str, count: int) -> None:
        self._untold[watched, digest].lost += count
        self._observations.labels(*watched, "lost").inc(count)
