"""Turns whatever a handler raises into a status that the caller may see."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import grpc
import grpc.aio

from detector_grpc.errors import DetectorError, let_go
from detector_grpc.interceptors.around import AroundInterceptor
from detector_grpc.serving.outcome import CURRENT_CALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.interceptors.around import Answer, Context

log = logging.getLogger(__name__)

ABORT_TIMEOUT_S = 5.0


class Status(Protocol):
    """What a failed call ends with."""

    @property
    def code(self) -> grpc.StatusCode:
        """Canonical code."""

    @property
    def message(self) -> str:
        """A sentence for people."""

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Details for programs."""


class ErrorsInterceptor(AroundInterceptor):
    """Maps errors; lets cancellations and statuses that are decided already pass.

    Args:
        status_of: The status of an error in the call with that id.
    """

    def __init__(self, status_of: Callable[[BaseException, str], Status]) -> None:
        super().__init__()
        self._status_of = status_of

    async def around(self, method: str, context: Context, answer: Answer) -> object:
        """See AroundInterceptor."""
        try:
            return await answer()
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # the one place that answers for all of them
            call = CURRENT_CALL.get()
            call.reason = error.reason if isinstance(error, DetectorError) else ""
            status = self._status_of(error, call.request_id)
            if status.code is grpc.StatusCode.INTERNAL:
                log.exception("call failed", extra={"method": method, "request_id": call.request_id})
            let_go(error)
            trailing = (*(context.trailing_metadata() or ()), *status.trailing_metadata)
            try:
                async with asyncio.timeout(ABORT_TIMEOUT_S):
                    await context.abort(status.code, status.message, trailing)
            except grpc.aio.AbortError:
                raise
            except TimeoutError:  # the caller does not read, not even this
                log.warning("call given up", extra={"method": method, "request_id": call.request_id})
                raise asyncio.CancelledError from None
            except Exception:  # noqa: BLE001 - gRPC's own class for this is private
                # The call is over already: its caller left while it sent, or gRPC itself refused the message.
                raise asyncio.CancelledError from None
