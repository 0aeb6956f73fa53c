"""The composition root: settings become objects, which run until a signal, and drain. Knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
from typing import TYPE_CHECKING

import cv2
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from detector_grpc.capturing import capture_of
from detector_grpc.configured import (
    check_runtime,
    default_model,
    model_sources,
    no_models,
    open_file,
    tls_files,
    uncertainty_measures,
    workers,
)
from detector_grpc.errors import SetupInvalid, ShuttingDown
from detector_grpc.interceptors.auth import AuthInterceptor, NamingInterceptor
from detector_grpc.interceptors.callers import read_callers
from detector_grpc.interceptors.calls import CallsInterceptor
from detector_grpc.interceptors.drift import DriftObserver, SampleLimits
from detector_grpc.interceptors.errors import ErrorsInterceptor
from detector_grpc.interceptors.later import Later
from detector_grpc.interceptors.limits import LimitsInterceptor
from detector_grpc.interceptors.logging import AccessLog
from detector_grpc.interceptors.messages import MAX_NAMES_BYTES, MessagesInterceptor
from detector_grpc.interceptors.metrics import Metrics
from detector_grpc.interceptors.shadow import Shadow, ShadowLimits
from detector_grpc.json_log import logging_to_stderr
from detector_grpc.metrics_server import metrics_server
from detector_grpc.rpc.copy_sender import CopySender
from detector_grpc.rpc.detector_service import DetectorService
from detector_grpc.rpc.drift_sender import DriftSender
from detector_grpc.rpc.server import AdminServer, DetectorServer
from detector_grpc.rpc.status import rich_status
from detector_grpc.rpc.stream_frames import Served, StreamLimits
from detector_grpc.rpc.transport import TRANSPORT_MARGIN_BYTES, TlsFiles, aio_channel
from detector_grpc.serving.budget import Shares
from detector_grpc.serving.copies import CopyMarks
from detector_grpc.serving.loader import Loader
from detector_grpc.serving.memory import use_one_heap
from detector_grpc.serving.outcome import Observers
from detector_grpc.serving.polling import Poller
from detector_grpc.serving.registry import Registry
from detector_grpc.serving.remote.session import until_engine
from detector_grpc.serving.resume import ResumeTokens
from detector_grpc.serving.scheduler import SHED_REASONS, Scheduler
from detector_grpc.settings import address, read_token
from detector_grpc.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from detector_grpc.interceptors.around import AroundInterceptor
    from detector_grpc.interceptors.auth import Callers
    from detector_grpc.interceptors.calls import CallEnd
    from detector_grpc.interceptors.capture import Capture
    from detector_grpc.output import Output
    from detector_grpc.serving.outcome import Outcome
    from detector_grpc.setting_sections.gateway import ShadowSettings
    from detector_grpc.setting_sections.server import LimitsSettings, TlsSettings
    from detector_grpc.settings import Settings
    from detector_grpc.vision.agreement import Agreement

log = logging.getLogger(__name__)

MIN_RESUME_KEY_BYTES = 16

# From a worker to the caller, whose clock has begun earlier than ours, too.
ANSWER_S = 0.01


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, and drains.

    Raises:
        SetupInvalid: The process cannot start.
    """
    use_one_heap()
    cv2.setNumThreads(1)  # pictures run beside each other, each on one thread
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # or a damaged TIFF could fill the log
    check_runtime(settings, runs_models=settings.runtime.engine is None)
    with (
        logging_to_stderr(settings.log_level) as output,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, output))


async def _serve(settings: Settings, output: Output) -> None:
    stopping, limits, collectors = Stopping(), settings.limits, CollectorRegistry()
    ProcessCollector(registry=collectors)
    scheduler = Scheduler(workers(settings), limits.max_queue, max_wait_s=limits.max_wait_s, answer_s=ANSWER_S)
    shares = Shares.of(limits.max_bytes_in_flight, limits.max_message_bytes + TRANSPORT_MARGIN_BYTES)
    sources = model_sources(settings)
    configured = sources.scan()
    registry = Registry(configured, default_model(settings, configured), settings.models.default_version)
    later, access_log = Later(), AccessLog()
    metrics = Metrics(
        later,
        collectors,
        queue_depth=lambda: scheduler.depth,
        streams=lambda: admission.streams,
        shed=lambda: {
            **{reason: scheduler.shed[reason] for reason in SHED_REASONS},
            "too_many_requests": admission.refused,
            "too_many_streams": admission.refused_streams,
        },
        providers=registry.providers,
        unwritten_lines=lambda: output.dropped,
    )

    key = _resume_key(settings.streams.resume_key_file)
    drift, capture = _drift(settings, collectors), capture_of(settings, collectors, later)
    watching: list[DriftObserver | Capture] = [*drift, *capture]
    compared = [each.compared for each in capture]
    shadow = _shadow(settings.shadow, settings.gateway_address, key, collectors, compared)

    async def on_change() -> None:
        for model, version, _ in registry.providers():
            metrics.add_version(model, version)
            for each in capture:
                each.add_version(model, version)
        await server.update_health()

    detector = DetectorService(
        registry,
        Served(
            scheduler,
            shares,
            _stream_limits(limits, settings.streams.max_age_s),
            Observers([metrics.observe, shadow.observe, *(each.observe for each in watching)]),
            *(each.wants for each in drift),
        ),
        ResumeTokens(key),
    )
    admission = LimitsInterceptor(
        limits.max_message_bytes,
        limits.max_message_bytes + TRANSPORT_MARGIN_BYTES,
        shares.calls,
        limits.max_requests,
        limits.max_streams,
        detector.check,
        limits.receive_timeout_s,
    )
    loader = Loader(
        registry,
        sources,
        open_file(settings, lambda: scheduler.interactive),
        limits.max_pixels,
        workers(settings),
        detector.until_unused,
        on_change,
        uncertainty_measures(settings),
    )
    repository, poll_s = settings.models.repository, settings.models.poll_s
    poller = Poller(repository, poll_s, loader) if repository and poll_s else None
    callers = read_callers(settings.auth.callers_file) if settings.auth.callers_file else None

    def interceptors(observers: Sequence[Callable[[CallEnd], None]]) -> list[AroundInterceptor | MessagesInterceptor]:
        """Those of every server, outermost first: observers are told the statuses that errors became, refusals too."""
        return [
            CallsInterceptor(later, observers, CopyMarks(key).read),
            ErrorsInterceptor(rich_status),
            *_naming(callers, settings.tls),
            MessagesInterceptor(limits.receive_timeout_s),
        ]

    server = DetectorServer(
        registry,
        detector,
        [*interceptors([access_log, metrics.count_unobserved]), admission],
        limits.max_message_bytes,
        limits.max_connection_streams,
        reflection=settings.server.reflection,
    )
    admin = AdminServer(
        registry,
        loader,
        interceptors([access_log]),
        MAX_NAMES_BYTES,
        reflection=settings.server.reflection,
    )
    host, admin_host, tls = settings.server.host, settings.server.admin_host, tls_files(settings)
    with metrics_server(host, settings.server.metrics_port, "DETECTOR_SERVER_METRICS_PORT", collectors) as metrics_port:
        port = server.bind(address(host, settings.server.port), tls)
        admin_port = admin.bind(address(admin_host, settings.server.admin_port), tls)
        await server.start()
        await admin.start()
        log.info(
            "listening",
            extra={
                "host": host,
                "port": port,
                "metrics_port": metrics_port,
                "admin_host": admin_host,
                "admin_port": admin_port,
            },
        )
        _say_what_is_missing(settings, registry, has_models=bool(configured))
        parts = [
            asyncio.create_task(part)
            for part in (
                _load(settings.runtime.engine, loader, poller),
                server.last(),
                admin.last(),
                *(each.run() for each in watching),
            )
        ]
        for part in parts:
            part.add_done_callback(stopping.fail)
        await stopping.begun.wait()
        # Orders are refused from here on, so nothing changes any more while the server drains.
        await asyncio.gather(admin.stop(), server.announce_stop())
        log.info("draining")
        await stopping.wait_for_balancers(settings.server.drain_wait_s)
        await server.stop(settings.server.grace_s)
        for part in parts:
            part.cancel()
        await scheduler.close()
        await asyncio.gather(shadow.close(), *(each.close() for each in watching))
        later.flush()
        access_log.flush()
    log.info("stopped")
    stopping.raise_failure()


def _say_what_is_missing(settings: Settings, registry: Registry, *, has_models: bool) -> None:
    if settings.workers > 1:
        log.warning("WORKERS is for `up`: `serve` is one process", extra={"workers": settings.workers})
    if not has_models:
        log.error("%s; going on, NOT_SERVING", no_models(settings))
    elif not registry.has_default:
        log.warning(
            "calls that name no model or version will fail: the default is not held "
            "(DETECTOR_MODELS_DEFAULT_MODEL, DETECTOR_MODELS_DEFAULT_VERSION)",
            extra={"model": registry.default_model, "version": registry.default_version},
        )


def _naming(callers: Callers | None, tls: TlsSettings) -> list[AroundInterceptor]:
    """What finds out who calls; nothing where nobody can tell."""
    if callers:
        return [AuthInterceptor(callers)]
    return [NamingInterceptor()] if tls.client_authority else []


def _stream_limits(limits: LimitsSettings, max_age_s: float) -> StreamLimits:
    return StreamLimits(
        max_frames_in_flight=limits.max_stream_frames,
        max_frame_bytes=limits.max_message_bytes,
        config_timeout_s=limits.receive_timeout_s,
        write_timeout_s=limits.receive_timeout_s,
        max_age_s=max_age_s,
    )


def _shadow(
    settings: ShadowSettings,
    gateway: str,
    key: bytes,
    collectors: CollectorRegistry,
    compared: Sequence[Callable[[Outcome, Agreement], None]],
) -> Shadow:
    """What sends copies of calls to another version."""
    channel = aio_channel(settings.target or gateway)
    sender = CopySender(channel, CopyMarks(key), settings.timeout_s, read_token(settings.token_file))
    limits = ShadowLimits(settings.max_bytes, settings.max_calls, settings.max_per_s)
    return Shadow(sender, limits, collectors, compared=compared)


def _drift(settings: Settings, collectors: CollectorRegistry) -> list[DriftObserver]:
    """What tells of pictures to whoever watches for drift; nothing if nobody does."""
    drift = settings.drift
    if not drift.target or not drift.sample_rate:
        return []
    own, authority = settings.tls, drift.target_authority
    tls = TlsFiles(own.certificate, own.private_key, authority) if authority else None
    sender = DriftSender(aio_channel(drift.target, tls), read_token(drift.token_file))
    return [DriftObserver(sender, SampleLimits(drift.sample_rate, drift.max_per_s), collectors)]


async def _load(engine: Path | None, loader: Loader, poller: Poller | None) -> None:
    with contextlib.suppress(ShuttingDown):
        if engine is not None:
            await until_engine(engine)
        await loader.load_all()
        gc.collect()
        gc.freeze()  # what start-up made stays for good; collections need not look at it again
        if poller is not None:
            await poller.run()


def _resume_key(file: Path | None) -> bytes:
    """The secret of the resume tokens; without a file, one that nobody else has."""
    if file is None:
        return secrets.token_bytes(32)
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise SetupInvalid([f"cannot read {file} (DETECTOR_STREAMS_RESUME_KEY_FILE): {error.strerror}"]) from error
    if len(key) < MIN_RESUME_KEY_BYTES:
        wanted = f"at least {MIN_RESUME_KEY_BYTES} bytes are needed, there are {len(key)}"
        raise SetupInvalid([f"{file} (DETECTOR_STREAMS_RESUME_KEY_FILE): {wanted}"])
    return key
