"""The access log: a line for every call, and one for many that are refused."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import OVERLOAD
from detector_grpc.interceptors.rpc_classes import OPEN

if TYPE_CHECKING:
    from detector_grpc.interceptors.calls import CallEnd

log = logging.getLogger(__name__)

# Seconds in which refusals of one kind are told together.
TOGETHER_S = 1.0


class _Kind(NamedTuple):
    """What refusals have in common that are told together."""

    method: str
    code: str
    reason: str
    caller: str


class AccessLog:
    """Writes the lines, of health probes only for debugging. Belongs to one event loop.

    Under overload a server that refuses a thousand calls a second would spend a good part of itself on lines that say
    the same. So of the refusals of one kind the first has its line, and the others of the same second one together,
    with their number; for debugging each has its own.
    """

    def __init__(self) -> None:
        self._untold: Counter[_Kind] = Counter()  # since the one that was told; a kind that is there was told

    def __call__(self, end: CallEnd) -> None:
        """Writes the line of a call, or counts it."""
        call = end.call
        level = logging.DEBUG if call.method in OPEN else logging.INFO
        if not log.isEnabledFor(level) or (call.reason in OVERLOAD and self._is_told_with_others(end)):
            return
        fields: dict[str, object] = {
            "method": call.method,
            "code": end.code.name,
            "duration_ms": round(end.duration_s * 1e3, 3),
            "request_id": call.request_id,
            "caller": call.caller,
            "model": call.model,
            "version": call.version,
        }
        if call.reason:
            fields["reason"] = call.reason
        if call.copy_of:
            fields["copy_of"] = call.copy_of
        if call.frames:
            fields["frames"] = dict(call.frames)
        record = log.makeRecord(log.name, level, __file__, 0, "call", (), None, extra=fields)
        record.created = end.ended_at
        log.handle(record)

    def flush(self) -> None:
        """Writes the lines of what was only counted."""
        untold, self._untold = self._untold, Counter()
        for kind, count in untold.items():
            if count:
                log.info("calls refused", extra={**kind._asdict(), "count": count})

    def _is_told_with_others(self, end: CallEnd) -> bool:
        if log.isEnabledFor(logging.DEBUG):
            return False
        kind = _Kind(end.call.method, end.code.name, end.call.reason, end.call.caller)
        if kind in self._untold:
            self._untold[kind] += 1
            return True
        if not self._untold:
            asyncio.get_running_loop().call_later(TOGETHER_S, self.flush)
        self._untold[kind] = 0
        return False
