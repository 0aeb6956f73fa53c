"""The messages of drift, from and to what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from detector_grpc._gen.detector.v1 import drift_service_pb2 as messages
from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.features import NAMES, SCHEMA
from detector_grpc.drift.observation import Observation, Watched
from detector_grpc.drift.reference import of_blocks
from detector_grpc.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector_grpc.drift.reference import Reference
    from detector_grpc.drift.station import VersionStatus
    from detector_grpc.drift.status import FeatureStatus, SeriesStatus

MAX_OBSERVATIONS = 1000
MAX_NAME_LENGTH = 255

_STATES = {
    DriftState.LEARNING: messages.DRIFT_STATE_LEARNING,
    DriftState.STABLE: messages.DRIFT_STATE_STABLE,
    DriftState.WARNING: messages.DRIFT_STATE_WARNING,
    DriftState.DRIFTED: messages.DRIFT_STATE_DRIFTED,
}


def observe_request(
    watched: Watched, digest: str, observations: Sequence[Observation], lost: int
) -> messages.ObserveRequest:
    """What a server tells; see Station.take."""
    return messages.ObserveRequest(
        schema=SCHEMA,
        model=watched.model,
        version=watched.version,
        model_digest=digest,
        observations=[
            messages.DriftObservation(values=each.values.tolist(), classes=dict(each.classes), stream_id=each.group)
            for each in observations
        ],
        lost=lost,
    )


def parse_observe(request: messages.ObserveRequest) -> tuple[Watched, str, list[Observation], int]:
    """As `observe_request` takes it.

    Raises:
        InvalidRequest: Something is wrong; all of it is named.
    """
    if violations := list(_wrong(request)):
        raise InvalidRequest(violations)
    observations = [
        Observation(np.array(each.values, np.float32), dict(each.classes), each.stream_id)
        for each in request.observations
    ]
    return Watched(request.model, request.version), request.model_digest, observations, request.lost


def _wrong(request: messages.ObserveRequest) -> Iterator[Violation]:
    for name in ("model", "version", "model_digest"):
        if not 1 <= len(getattr(request, name)) <= MAX_NAME_LENGTH:
            yield Violation(name, f"must have 1 to {MAX_NAME_LENGTH} characters")
    if request.schema != SCHEMA:
        yield Violation("schema", f"must be {SCHEMA}, got {request.schema}")
    elif any(len(each.values) != len(NAMES) for each in request.observations):
        yield Violation("observations.values", f"must have {len(NAMES)} numbers")
    if len(request.observations) > MAX_OBSERVATIONS:
        yield Violation("observations", f"must be at most {MAX_OBSERVATIONS}, got {len(request.observations)}")
    if any(count < 0 for each in request.observations for count in each.classes.values()):
        yield Violation("observations.classes", "must not be negative")
    if any(len(each.stream_id) > MAX_NAME_LENGTH for each in request.observations):
        yield Violation("observations.stream_id", f"must have at most {MAX_NAME_LENGTH} characters")
    if request.lost < 0:
        yield Violation("lost", f"must not be negative, got {request.lost}")


def drift_status(of: VersionStatus, report_made_s: float, report_fault: str) -> messages.DriftStatus:
    """One version, and how its report is; see Reports.state."""
    series = of.series
    return messages.DriftStatus(
        model=of.watched.model,
        version=of.watched.version,
        model_digest=of.digest,
        state=_STATES[series.state],
        since=timestamp(series.since_s),
        observations=series.observations,
        observations_needed=series.wanted,
        drifted_share=series.drifted_share,
        reference=reference(of.reference, knows_hour=series.knows_hour) if of.reference else None,
        features=map(_feature, series.features),
        groups=[_group(name, each) for name, each in of.groups],
        groups_watched=of.group_states.total(),
        observations_lost=min(of.lost.total(), 2**31 - 1),
        report_made=timestamp(report_made_s) if report_made_s else None,
        report_fault=report_fault,
        stored=of.stored,
    )


def reference(of: Reference, *, knows_hour: bool) -> messages.DriftReference:
    """What is compared with."""
    return messages.DriftReference(
        source=of.source,
        made=timestamp(of.made_at_s),
        observations=of_blocks(of.blocks),
        daily=of.daily,
        knows_hour=knows_hour,
    )


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch, to the second."""
    return Timestamp(seconds=int(min(max(seconds, 0.0), 253402300799.0)))


def _group(name: str, of: SeriesStatus) -> messages.DriftGroup:
    drifted = [_feature(each) for each in of.features if each.drifted]
    return messages.DriftGroup(stream_id=name, state=_STATES[of.state], since=timestamp(of.since_s), features=drifted)


def _feature(of: FeatureStatus) -> messages.DriftFeature:
    told = messages.DriftFeature(
        name=of.feature.name,
        drifted=of.drifted,
        words=of.words,
        distance=of.deviation.distance,
        allowed=of.deviation.allowed,
        ratio=of.deviation.ratio,
        evidence=of.evidence,
        reference_quantiles=of.reference,
        current_quantiles=of.current,
    )
    if of.statistics is not None:
        told.psi, told.wasserstein, told.ks, told.p_value = of.statistics
    elif of.chi_square_p is not None:
        told.p_value = of.chi_square_p
    return told
