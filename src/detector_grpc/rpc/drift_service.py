"""DriftService and its ingest: what the station watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.api.httpbody_pb2 import HttpBody

from detector_grpc._gen.detector.v1 import drift_service_pb2 as messages
from detector_grpc._gen.detector.v1.drift_service_pb2_grpc import DriftIngestServiceServicer, DriftServiceServicer
from detector_grpc.drift.observation import Watched
from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc import drift_convert
from detector_grpc.rpc.fields import read_names
from detector_grpc.rpc.metadata import rest_query
from detector_grpc.serving.outcome import CURRENT_CALL

if TYPE_CHECKING:
    from detector_grpc.drift.reports import Reports
    from detector_grpc.drift.station import Station
    from detector_grpc.rpc.metadata import Context


class DriftService(DriftServiceServicer):
    """Says how things are, and takes orders.

    Args:
        station: What watches. All of it is done on threads.
        reports: Pages that show it.
    """

    def __init__(self, station: Station, reports: Reports) -> None:
        self._station = station
        self._reports = reports

    async def GetDriftStatus(  # noqa: N802
        self,
        request: messages.GetDriftStatusRequest,
        context: Context,
    ) -> messages.GetDriftStatusResponse:
        """See the contract."""
        statuses = await asyncio.to_thread(self._statuses, *_asked(request, context))
        return messages.GetDriftStatusResponse(statuses=statuses)

    async def GetDriftReport(  # noqa: N802
        self,
        request: messages.GetDriftReportRequest,
        context: Context,
    ) -> HttpBody:
        """See the contract."""
        watched = await asyncio.to_thread(self._station.only, *_asked(request, context))
        return HttpBody(content_type="text/html; charset=utf-8", data=await self._reports.page(watched))

    async def UpdateReference(  # noqa: N802
        self,
        request: messages.UpdateReferenceRequest,
        context: Context,  # noqa: ARG002
    ) -> messages.UpdateReferenceResponse:
        """See the contract."""
        watched, call = _named(request), CURRENT_CALL.get()
        call.model, call.version = watched
        station, caller = self._station, call.caller
        match request.WhichOneof("new_reference"):
            case "file":
                change = await asyncio.to_thread(station.use_file, watched, request.file, caller)
            case "number":
                change = await asyncio.to_thread(station.use_past, watched, request.number, caller)
            case "learn" if request.learn:
                change = await asyncio.to_thread(station.learn, watched, caller)
            case "recent" if request.recent:
                change = await asyncio.to_thread(station.use_recent, watched, caller)
            case _:
                raise InvalidRequest([Violation("new_reference", "must be one of recent, file, number and learn")])
        now, before = (each and drift_convert.reference(each, knows_hour=True) for each in change)
        return messages.UpdateReferenceResponse(reference=now, previous=before)

    async def ListReferences(  # noqa: N802
        self,
        request: messages.ListReferencesRequest,
        context: Context,  # noqa: ARG002
    ) -> messages.ListReferencesResponse:
        """See the contract."""
        past = await asyncio.to_thread(self._station.past, _named(request))
        return messages.ListReferencesResponse(
            references=[
                messages.PastReference(number=number, reference=drift_convert.reference(each, knows_hour=True))
                for number, each in past.items()
            ]
        )

    def _statuses(self, model: str, version: str) -> list[messages.DriftStatus]:
        return [
            drift_convert.drift_status(each, *self._reports.state(each.watched), stored=self._station.stored)
            for each in self._station.statuses(model, version)
        ]


class DriftIngestService(DriftIngestServiceServicer):
    """Takes in what servers observe.

    Args:
        station: What watches.
    """

    def __init__(self, station: Station) -> None:
        self._station = station

    async def Observe(  # noqa: N802
        self,
        request: messages.ObserveRequest,
        context: Context,  # noqa: ARG002
    ) -> messages.ObserveResponse:
        """See the contract."""
        return messages.ObserveResponse(taken=await asyncio.to_thread(self._take, request))

    def _take(self, request: messages.ObserveRequest) -> int:
        return self._station.take(*drift_convert.parse_observe(request))


def _asked(
    request: messages.GetDriftStatusRequest | messages.GetDriftReportRequest, context: Context
) -> tuple[str, str]:
    """Names of model and version, which REST callers say in the query; empty where they are not said."""
    said = read_names(rest_query(context), ("model", "version"))
    return said.get("model", request.model), said.get("version", request.version)


def _named(request: messages.UpdateReferenceRequest | messages.ListReferencesRequest) -> Watched:
    """The version that it names."""
    watched = Watched(request.model, request.version)
    drift_convert.check_names(watched)
    return watched
