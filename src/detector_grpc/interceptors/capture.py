"""Has pictures kept that the model was unsure of, for people to label.

What is decided on the event loop costs nothing to speak of; whatever takes time, the disk and the sink first of all, is
a matter of threads that nobody waits for, and cannot touch an answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from detector_grpc.capture.capturer import Candidate

if TYPE_CHECKING:
    from detector_grpc.capture.capturer import Capturer
    from detector_grpc.capture.gate import Gate
    from detector_grpc.capture.metrics import CaptureMetrics
    from detector_grpc.capture.uploader import Uploader
    from detector_grpc.interceptors.later import Later
    from detector_grpc.serving.outcome import Outcome

# What the process may take for its last samples when it stops; those that are left wait on its disk.
_DECIDE_S = 1.0
_UPLOAD_S = 3.0


class Capture:
    """Observes outcomes. Belongs to one event loop.

    Args:
        gate: The first look.
        capturer: The second one.
        uploader: Brings what is kept to its sink.
        metrics: Told what becomes of uncertain pictures.
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

    async def run(self) -> None:
        """Begins; samples of a process that has died are found, too."""
        self._capturer.start()
        self._uploader.start()

    def add_version(self, model: str, version: str) -> None:
        """Makes the series of a version exist, at 0."""
        self._metrics.add_version(model, version)

    def observe(self, outcome: Outcome) -> None:
        """Has a picture looked at if the model was unsure of it."""
        call, result = outcome.call, outcome.result
        if result is None or outcome.request is None or not self._gate.is_uncertain(result.uncertainty.score):
            return
        # A stream without a name is one all the same.
        stream = call.stream_id or (call.request_id if outcome.frame_id is not None else "")
        refusal = self._gate.refusal(stream) if call.may_be_kept else "opted_out"
        if not refusal and not self._capturer.take(Candidate(outcome, result.uncertainty, stream)):
            refusal = "skipped"
        if refusal:
            self._later(self._metrics.became, call.model, call.version, refusal)

    async def close(self) -> None:
        """Keeps and brings what it can in a moment."""
        await asyncio.to_thread(self._capturer.stop, _DECIDE_S)
        await asyncio.to_thread(self._uploader.stop, _UPLOAD_S)
