"""What keeps the pictures that the model is unsure of, as the settings say: in servers, and for commands that look."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from detector_grpc.capture.capturer import Capturer
from detector_grpc.capture.gate import Choice, Gate
from detector_grpc.capture.ledger import Budget, Ledger
from detector_grpc.capture.maker import Maker, Redaction
from detector_grpc.capture.metrics import CaptureMetrics
from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.capture.sinks.s3 import S3Place, S3Sink
from detector_grpc.capture.spool import Spool, SpoolLimits, spool_folder
from detector_grpc.capture.uploader import Uploader
from detector_grpc.errors import SetupInvalid
from detector_grpc.interceptors.capture import Capture

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from detector_grpc.capture.sinks.sink import Sink
    from detector_grpc.interceptors.later import Later
    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)

_DAY_S = 86_400.0


def sample_sink(settings: Settings) -> Sink | None:
    """Where samples go; None where none are kept.

    Raises:
        SetupInvalid: What it takes is not installed, or there is no folder for it.
    """
    capture = settings.capture
    if capture.sink == "off":
        return None
    if capture.sink == "folder":
        return FolderSink(capture.folder_path or capture.state_folder / "samples", capture.folder_max_bytes)
    return S3Sink(
        S3Place(
            settings.s3_bucket_name,
            prefix=capture.s3_prefix,
            endpoint=capture.s3_endpoint,
            region=capture.s3_region,
            owner=capture.s3_bucket_owner,
            encryption=capture.s3_encryption,
            kms_key=capture.s3_kms_key,
        )
    )


def sample_spool(settings: Settings, sink: Sink) -> Spool:
    """Where samples wait for their sink."""
    capture = settings.capture
    limits = SpoolLimits(capture.max_bytes, capture.max_age_days * _DAY_S, capture.first_to_go)
    return Spool(spool_folder(capture.state_folder, sink.name), limits)


def sample_ledger(settings: Settings) -> Ledger:
    """What the servers of this machine know of the samples that were kept."""
    capture = settings.capture
    return Ledger(capture.state_folder, Budget(capture.max_per_hour, capture.max_per_stream, capture.cooldown_s))


def capture_of(settings: Settings, collectors: CollectorRegistry, later: Later) -> list[Capture]:
    """What keeps pictures that the model is unsure of; nothing where none are kept."""
    own = settings.capture
    try:
        sink = sample_sink(settings)
    except SetupInvalid as error:
        if own.sink == "s3":  # asked for, so its absence is not passed over
            raise
        log.warning("no pictures are kept for people to label: %s, or DETECTOR_CAPTURE_SINK=off", error.message)
        return []
    if sink is None:
        return []
    log.info("pictures that the model is unsure of are kept (DETECTOR_CAPTURE_SINK)", extra={"sink": sink.place})
    spool = sample_spool(settings, sink)
    metrics = CaptureMetrics(collectors, spool)
    uploader = Uploader(spool, sink, metrics)
    gate = Gate(Choice(settings.uncertainty_threshold, own.cooldown_s))
    maker = Maker(settings.limits.max_pixels, Redaction(frozenset(own.redact)))
    capturer = Capturer(sample_ledger(settings), maker, spool, gate, metrics, own.max_picture_bytes, uploader.wake)
    return [Capture(gate, capturer, uploader, metrics, later)]
