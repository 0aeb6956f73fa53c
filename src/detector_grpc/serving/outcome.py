"""What the server tells its observers after every call: one frozen value, and nothing else."""

from __future__ import annotations

import logging
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector_grpc.serving.frames import DropReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector_grpc.serving.pipeline import PictureRequest, Result

log = logging.getLogger(__name__)

ANONYMOUS = "anonymous"
FRAME_OUTCOMES = ("detected", *(reason.value for reason in DropReason), "error", "cancelled")


@dataclass
class Call:
    """One call while it is being answered; filled in by the interceptors, from the outermost inwards.

    Attributes:
        method: Full name, e.g. "/detector.v1.DetectorService/Detect".
        request_id: The caller's, else made here.
        caller: Name of the caller as the credentials prove it.
        model: Name of the model that was chosen; empty before.
        version: Name of the version that was chosen; empty before.
        shadow: Version that is to get a copy of the call; empty for none.
        copy_of: Id of the request that this one is a copy of; empty where it is none. Copies are not observed.
        stream_id: Name that the caller gave to the stream of pictures that this one is of; empty for none.
        may_be_kept: Whether its caller lets its pictures be kept for people to label.
        observed: Whether an Outcome told of the call as a whole.
        reason: Name of the error that it ended with, see `errors`; empty where it ended with none of those.
        frames: Of a stream, how many frames there were by what became of them; see `frame_outcome`.
    """

    method: str
    request_id: str
    caller: str = ANONYMOUS
    model: str = ""
    version: str = ""
    shadow: str = ""
    copy_of: str = ""
    stream_id: str = ""
    may_be_kept: bool = True
    observed: bool = False
    reason: str = ""
    frames: Counter[str] = field(default_factory=Counter)


CURRENT_CALL: ContextVar[Call] = ContextVar("CURRENT_CALL")


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: a unary call, or one frame of a stream.

    Attributes:
        call: The call it belongs to.
        status: Canonical code in lower case, e.g. "ok" or "invalid_argument".
        duration_s: Seconds from the picture's arrival to its answer.
        request: The picture as sent, and what was asked for; None where the call failed before it was read.
        result: What was found; None unless status is "ok" and the frame was not dropped.
        model_digest: Digest of the model file that answered; empty where none did.
        class_names: Names by class_id of the model that answered; empty where none did.
        error: What went wrong; None where status is "ok".
        frame_id: The caller's number of the frame; None where the picture is none of a stream.
        dropped: Why the frame was not looked at; None where it was.
    """

    call: Call
    status: str
    duration_s: float
    request: PictureRequest | None = field(default=None, repr=False)
    result: Result | None = None
    model_digest: str = ""
    class_names: Sequence[str] = field(default=(), repr=False)
    error: BaseException | None = None
    frame_id: int | None = None
    dropped: DropReason | None = None


def frame_outcome(outcome: Outcome) -> str:
    """What became of a frame, in one of the words of `FRAME_OUTCOMES`."""
    if outcome.dropped is not None:
        return outcome.dropped.value
    if outcome.status == "cancelled":
        return outcome.status
    return "detected" if outcome.error is None else "error"


class Observers:
    """Tells several observers; the failure of one is logged, and touches neither the others nor the call.

    Args:
        observers: Called on the event loop; must not block.
    """

    def __init__(self, observers: Sequence[Callable[[Outcome], None]]) -> None:
        self._observers = tuple(observers)

    def __call__(self, outcome: Outcome) -> None:
        """Tells all of them."""
        if outcome.frame_id is None:
            outcome.call.observed = True
        else:
            outcome.call.frames[frame_outcome(outcome)] += 1
        if outcome.call.copy_of:
            return
        for observe in self._observers:
            try:
                observe(outcome)
            except Exception:
                log.exception("an observer failed", extra={"request_id": outcome.call.request_id})
