"""Questions and orders to the process that watches for drift, or to the gateway before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToDict

from detector_grpc._gen.detector.v1 import drift_service_pb2 as messages
from detector_grpc.client.aio import make
from detector_grpc.client.calls import Call, Calls, call_timeout_s
from detector_grpc.rpc import transport

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from google.protobuf.message import Message

_STATE_PREFIX = "DRIFT_STATE_"


class Drift:
    """For asyncio, as AsyncDetector; every method raises CallFailed.

    They answer as the contract says it, in plain values. Times are texts, e.g. "2025-06-01T12:00:00Z"; states are
    "LEARNING", "STABLE", "WARNING" and "DRIFTED".
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        tls: transport.TlsFiles | None = None,
        timeout_s: float | None = 30.0,
    ) -> None:
        """Opens no connection yet; the first call does.

        Args:
            target: "host:port".
            token: Bearer token.
            tls: Certificates; `TlsFiles()` for TLS with the usual authorities, None for no TLS.
            timeout_s: Longest to wait for one answer, in seconds, more than 0; None: no limit.

        Raises:
            SetupInvalid: A TLS file cannot be read.
            ValueError: No call could be made in `timeout_s`.
        """
        self._calls = Calls("", "", token)
        self._timeout_s = call_timeout_s(timeout_s)
        self._channel = transport.aio_channel(target, tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def status(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """DriftStatus of every version of these names; an empty name fits all."""
        request = messages.GetDriftStatusRequest(model=model, version=version)
        answer = await self._ask("GetDriftStatus", request, messages.GetDriftStatusResponse)
        statuses: list[dict[str, Any]] = answer["statuses"]
        return statuses

    async def report(self, model: str = "", version: str = "") -> bytes:
        """The page that shows why a version is in its state, HTML; an empty name means the only one."""
        request = messages.GetDriftReportRequest(model=model, version=version)
        call = Call("/detector.v1.DriftService/GetDriftReport", request, HttpBody, _data, self._calls.metadata())
        return await make(self._channel, call, self._timeout_s)

    async def update_reference(
        self,
        model: str,
        version: str,
        *,
        recent: bool | None = None,
        file: str | None = None,
        number: int | None = None,
        learn: bool | None = None,
    ) -> dict[str, Any]:
        """UpdateReferenceResponse; see UpdateReferenceRequest, of whose new references one must be said."""
        request = messages.UpdateReferenceRequest(
            model=model, version=version, recent=recent, file=file, number=number, learn=learn
        )
        return await self._ask("UpdateReference", request, messages.UpdateReferenceResponse)

    async def references(self, model: str, version: str) -> list[dict[str, Any]]:
        """PastReference of each that the version had, the latest first."""
        request = messages.ListReferencesRequest(model=model, version=version)
        answer = await self._ask("ListReferences", request, messages.ListReferencesResponse)
        references: list[dict[str, Any]] = answer["references"]
        return references

    async def _ask(self, method: str, request: Message, answer: type[Message]) -> dict[str, Any]:
        path = f"/detector.v1.DriftService/{method}"
        return await make(self._channel, Call(path, request, answer, _plain, self._calls.metadata()), self._timeout_s)


def _data(body: HttpBody) -> bytes:
    return bytes(body.data)


def _plain(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for each in (status for told in said.get("statuses", ()) for status in (told, *told["groups"])):
        each["state"] = each["state"].removeprefix(_STATE_PREFIX)
    return said
