"""Has pictures kept that are worth a label: those that the model was unsure of, first of all.

What is decided on the event loop costs nothing to speak of; whatever takes time, the disk and the sink first of all, is
a matter of threads that nobody waits for, and cannot touch an answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from detector_grpc.capture.capturer import Candidate
from detector_grpc.capture.maker import UNCERTAIN
from detector_grpc.capture.signals import disagreement
from detector_grpc.capture.signs import CLASS_RARITY, DISAGREEMENT, FLICKER, LEAST, Signs
from detector_grpc.vision.agreement import Labelled

if TYPE_CHECKING:
    from detector_grpc.capture.capturer import Capturer
    from detector_grpc.capture.gate import Gate
    from detector_grpc.capture.metrics import CaptureMetrics
    from detector_grpc.capture.uploader import Uploader
    from detector_grpc.interceptors.later import Later
    from detector_grpc.serving.outcome import Outcome
    from detector_grpc.vision.agreement import Agreement

# What the process may take for its last samples when it stops; those that are left wait on its disk.
_DECIDE_S = 1.0
_UPLOAD_S = 3.0


class Capture:
    """Observes outcomes. Belongs to one event loop.

    Args:
        gate: The first look.
        capturer: The second one.
        uploader: Brings what is kept to its sink.
        metrics: Told what becomes of pictures.
        later: When that is counted.
    """

    def __init__(
        self, gate: Gate, capturer: Capturer, uploader: Uploader, metrics: CaptureMetrics, later: Later
    ) -> None:
        self._gate = gate
        self._capturer = capturer
        self._uploader = uploader
        self._metrics = metrics
        self._later = later
        self._signs = Signs()

    async def run(self) -> None:
        """Begins; samples of a process that has died are found, too."""
        self._capturer.start()
        self._uploader.start()

    def add_version(self, model: str, version: str) -> None:
        """Makes the series of a version exist, at 0."""
        self._metrics.add_version(model, version)

    def observe(self, outcome: Outcome) -> None:
        """Has a picture looked at if the model was unsure of it, or something else makes it worth a label."""
        result = outcome.result
        if result is None or outcome.request is None:
            return
        names = outcome.class_names
        found = Labelled(result.detections.xyxy, [names[class_id] for class_id in result.detections.class_id.tolist()])
        reasons = [UNCERTAIN] if self._gate.is_uncertain(result.uncertainty.score) else []
        self._consider(outcome, reasons, {CLASS_RARITY: self._signs.rarity(outcome, found)})
        if outcome.frame_id is not None:
            flickered = self._signs.flickered(_stream(outcome), outcome, found)
            if flickered is not None:
                frame, share = flickered
                self._consider_again(frame, {FLICKER: share})

    def compared(self, outcome: Outcome, agreement: Agreement) -> None:
        """Has a picture looked at that two versions do not see alike."""
        self._consider_again(outcome, {DISAGREEMENT: disagreement(agreement)})

    def _consider_again(self, outcome: Outcome, signals: dict[str, float]) -> None:
        """Considers a picture by what was not known at first, unless it was considered then."""
        if outcome.result is not None and not self._gate.is_uncertain(outcome.result.uncertainty.score):
            self._consider(outcome, [], signals)

    def _consider(self, outcome: Outcome, reasons: list[str], signals: dict[str, float]) -> None:
        reasons += [name for name, value in signals.items() if value >= LEAST[name]]
        if not reasons:
            return
        call, stream = outcome.call, _stream(outcome)
        refusal = self._gate.refusal(stream) if call.may_be_kept else "opted_out"
        if not refusal and not self._capturer.take(Candidate(outcome, stream, tuple(reasons), signals)):
            refusal = "skipped"
        if refusal:
            self._later(self._metrics.became, call.model, call.version, refusal)

    async def close(self) -> None:
        """Keeps and brings what it can in a moment."""
        await asyncio.to_thread(self._capturer.stop, _DECIDE_S)
        await asyncio.to_thread(self._uploader.stop, _UPLOAD_S)


def _stream(outcome: Outcome) -> str:
    """What a picture is a frame of: a stream without a name is one all the same."""
    call = outcome.call
    return call.stream_id or (call.request_id if outcome.frame_id is not None else "")
