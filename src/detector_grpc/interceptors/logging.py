"""The access log: a line for every call."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from detector_grpc.interceptors.rpc_classes import OPEN

if TYPE_CHECKING:
    from detector_grpc.interceptors.calls import CallEnd

log = logging.getLogger(__name__)


def log_call(end: CallEnd) -> None:
    """Writes the line of a call; of a health probe only for debugging."""
    call = end.call
    level = logging.DEBUG if call.method in OPEN else logging.INFO
    if not log.isEnabledFor(level):
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
    if call.copy_of:
        fields["copy_of"] = call.copy_of
    if call.frames:
        fields["frames"] = dict(call.frames)
    record = log.makeRecord(log.name, level, __file__, 0, "call", (), None, extra=fields)
    record.created = end.ended_at
    log.handle(record)
