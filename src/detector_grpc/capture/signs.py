"""What makes a picture worth a label though the model was sure of it, found as pictures go by. See `signals`."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.capture.signals import ClassRarity, Flicker

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.serving.outcome import Outcome
    from detector_grpc.vision.agreement import Labelled

# Names of the signals, in samples and their reasons.
CLASS_RARITY = "class_rarity"
FLICKER = "flicker"
DISAGREEMENT = "disagreement"

# From so much on a signal is a reason by itself: all but the rarest classes are below; of its objects, or of those that
# two versions found, half are in doubt.
LEAST = {CLASS_RARITY: 0.9, FLICKER: 0.5, DISAGREEMENT: 0.5}

# A frame is known to have flickered when the next one is there. Beyond these, frames are not waited for.
MAX_STREAMS = 64
MAX_HELD_BYTES = 16 * 1024 * 1024

# Of each stream three frames in a row are looked at, and then none for so long: it takes up to a millisecond.
_REST_S = 1.0


class _Stream(NamedTuple):
    flicker: Flicker[Outcome | None]
    held_bytes: int
    rests_until: float


class Signs:
    """Watches the pictures of all versions and streams. Belongs to one thread.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rarity: defaultdict[tuple[str, str], ClassRarity] = defaultdict(ClassRarity)
        self._streams: dict[str, _Stream] = {}
        self._held_bytes = 0

    def rarity(self, outcome: Outcome, found: Labelled) -> float:
        """How rare the rarest class in a picture is, among those that the version has seen."""
        return self._rarity[outcome.call.model, outcome.call.version].see(found.names)

    def flickered(self, stream: str, outcome: Outcome, found: Labelled) -> tuple[Outcome, float] | None:
        """The frame before this one, and the share of its objects that flickered, where both can be told."""
        now = self._clock()
        before = self._streams.pop(stream, None) or _Stream(Flicker(), 0, now)
        if now < before.rests_until:
            self._streams[stream] = before
            return None
        self._held_bytes -= before.held_bytes
        size = 0 if outcome.request is None else len(outcome.request.image.data)
        held_bytes = size if self._held_bytes + size <= MAX_HELD_BYTES else 0
        known = before.flicker.see(outcome if held_bytes else None, found)
        if known is None:
            self._held_bytes += held_bytes
            self._streams[stream] = before._replace(held_bytes=held_bytes)
        else:
            self._streams[stream] = _Stream(Flicker(), 0, now + _REST_S)
        if len(self._streams) > MAX_STREAMS:
            self._held_bytes -= self._streams.pop(next(iter(self._streams))).held_bytes
        return None if known is None or known.frame is None else (known.frame, known.share)
