"""The outermost interceptor: gives every call its identity, and tells how it ended."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc
import grpc.aio

from detector_grpc.interceptors.around import AroundInterceptor
from detector_grpc.serving.outcome import CURRENT_CALL, Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from detector_grpc.interceptors.around import Context
    from detector_grpc.interceptors.later import Later

REQUEST_ID_KEY = "x-request-id"

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
    """

    def __init__(self, later: Later, observers: Sequence[Callable[[CallEnd], None]]) -> None:
        super().__init__()
        self._later = later
        self._observers = tuple(observers)

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """See AroundInterceptor."""
        call = Call(method, _request_id(context))
        CURRENT_CALL.set(call)
        context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):  # the latter where a generator waits to be asked for more
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


def _request_id(context: Context) -> str:
    """The caller's id if it is one, else a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
