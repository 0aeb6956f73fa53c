"""The outermost interceptor: gives every call its identity, and tells how it ended."""

from __future__ import annotations

import asyncio
import random
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import grpc
import grpc.aio

from detector_grpc import headers
from detector_grpc.interceptors.around import AroundInterceptor
from detector_grpc.serving.outcome import CURRENT_CALL, Call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector_grpc.interceptors.around import Answer, Context
    from detector_grpc.interceptors.later import Later

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class CallEnd(NamedTuple):
    """How a call ended.

    Attributes:
        call: The call.
        code: Its canonical code.
        duration_s: Seconds from its arrival to its end.
        ended_at: When that was, seconds since the epoch.
    """

    call: Call
    code: grpc.StatusCode
    duration_s: float
    ended_at: float


class CallsInterceptor(AroundInterceptor):
    """Makes the Call that the others fill in.

    Args:
        later: When the observers are told.
        observers: Told of the end of every call.
        read_mark: Reads the mark of a copy: the id of the call that it is one of, empty if it is no mark.
    """

    def __init__(
        self,
        later: Later,
        observers: Sequence[Callable[[CallEnd], None]],
        read_mark: Callable[[str], str] = lambda _: "",
    ) -> None:
        super().__init__()
        self._later = later
        self._observers = tuple(observers)
        self._read_mark = read_mark

    async def around(self, method: str, context: Context, answer: Answer) -> object:
        """See AroundInterceptor."""
        call = self._call(method, context)
        CURRENT_CALL.set(call)
        context.set_trailing_metadata(((headers.REQUEST_ID, call.request_id),))
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            return await answer()
        except asyncio.CancelledError:
            expired = context.time_remaining() == 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = context.code()
            raise
        finally:
            end = CallEnd(call, code, time.perf_counter() - started, time.time())
            for observe in self._observers:
                self._later(observe, end)

    def _call(self, method: str, context: Context) -> Call:
        told = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        request_id = told.get(headers.REQUEST_ID, "")
        return Call(
            method,
            request_id if _REQUEST_ID.fullmatch(request_id) else f"{random.getrandbits(128):032x}",
            shadow=told.get(headers.SHADOW, ""),
            stream_id=told.get(headers.STREAM_ID, "")[: headers.MAX_STREAM_ID],
            may_be_kept=told.get(headers.CAPTURE, "").lower() != headers.NOT_CAPTURED,
            copy_of=self._read_mark(told[headers.COPY_OF]) if headers.COPY_OF in told else "",
        )
