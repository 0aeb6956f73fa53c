"""The messages of drift, from and to what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from detector_grpc._gen.detector.v1 import drift_service_pb2 as messages
from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.features import NAMES, SCHEMA
from detector_grpc.drift.observation import Observation, Watched
from detector_grpc.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector_grpc.drift.reference import Summary
    from detector_grpc.drift.status import FeatureStatus, SeriesStatus
    from detector_grpc.drift.version_status import VersionStatus

MAX_OBSERVATIONS = 1000
MAX_NAME_LENGTH = 255
# As many as a picture can have.
MAX_BOXES = 1000

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


def check_names(watched: Watched) -> None:
    """Refuses names that no version can have.

    Raises:
        InvalidRequest: One is empty, too long, or has characters that cannot be shown.
    """
    if violations := list(_wrong_names(watched._asdict())):
        raise InvalidRequest(violations)


def _wrong_names(names: Mapping[str, str]) -> Iterator[Violation]:
    for field, name in names.items():
        if not (name and _is_shown(name)):
            yield Violation(field, f"must have 1 to {MAX_NAME_LENGTH} printable characters")


def _wrong(request: messages.ObserveRequest) -> Iterator[Violation]:
    yield from _wrong_names({name: getattr(request, name) for name in ("model", "version", "model_digest")})
    if request.schema != SCHEMA:
        yield Violation("schema", f"must be {SCHEMA}, got {request.schema}")
    elif any(len(each.values) != len(NAMES) for each in request.observations):
        yield Violation("observations.values", f"must have {len(NAMES)} numbers")
    if len(request.observations) > MAX_OBSERVATIONS:
        yield Violation("observations", f"must be at most {MAX_OBSERVATIONS}, got {len(request.observations)}")
    if any(count < 0 for each in request.observations for count in each.classes.values()):
        yield Violation("observations.classes", "must not be negative")
    if any(sum(each.classes.values()) > MAX_BOXES for each in request.observations):
        yield Violation("observations.classes", f"must count at most {MAX_BOXES} boxes")
    if not all(_is_shown(name) for each in request.observations for name in (each.stream_id, *each.classes)):
        yield Violation("observations", f"names must have at most {MAX_NAME_LENGTH} printable characters")
    if request.lost < 0:
        yield Violation("lost", f"must not be negative, got {request.lost}")


def _is_shown(name: str) -> bool:
    return len(name) <= MAX_NAME_LENGTH and name.isprintable()


def drift_status(of: VersionStatus, report_made_s: float, report_fault: str, *, stored: bool) -> messages.DriftStatus:
    """One version, how its report is, see Reports.state, and whether all is on disk."""
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
        stored=stored,
        latest=timestamp(series.latest_s) if series.latest_s else None,
    )


def reference(of: Summary, *, knows_hour: bool) -> messages.DriftReference:
    """What is compared with."""
    return messages.DriftReference(
        source=of.source,
        made=timestamp(of.made_at_s),
        observations=of.observations,
        daily=of.daily,
        knows_hour=knows_hour,
    )


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch, to the second."""
    return Timestamp(seconds=int(min(max(seconds, 0.0), 253402300799.0)))


def _group(name: str, of: SeriesStatus) -> messages.DriftGroup:
    return messages.DriftGroup(
        stream_id=name, state=_STATES[of.state], since=timestamp(of.since_s), features=map(_feature, of.features)
    )


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
