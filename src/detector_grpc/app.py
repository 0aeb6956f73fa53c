"""The composition root: settings become objects, which run until a signal, and drain. Knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
import sys
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from pythonjsonlogger.json import JsonFormatter

from detector_grpc.errors import SetupInvalid
from detector_grpc.interceptors.auth import AuthInterceptor
from detector_grpc.interceptors.callers import read_callers
from detector_grpc.interceptors.calls import CallsInterceptor
from detector_grpc.interceptors.errors import ErrorsInterceptor
from detector_grpc.interceptors.later import Later
from detector_grpc.interceptors.limits import LimitsInterceptor
from detector_grpc.interceptors.logging import log_call
from detector_grpc.interceptors.metrics import Metrics
from detector_grpc.rpc.detector_service import DetectorService
from detector_grpc.rpc.server import DetectorServer
from detector_grpc.rpc.status import rich_status
from detector_grpc.rpc.stream import StreamLimits
from detector_grpc.rpc.transport import TRANSPORT_MARGIN_BYTES, TlsFiles
from detector_grpc.serving import repository
from detector_grpc.serving.budget import ByteBudget
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.outcome import Observers
from detector_grpc.serving.registry import ModelState, ModelVersion, Registry
from detector_grpc.serving.resume import ResumeTokens
from detector_grpc.serving.scheduler import SHED_REASONS, Scheduler
from detector_grpc.serving.session import OnnxSession, import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)

BUNDLED = Path(str(files("detector_grpc"))) / "bundled"
BUNDLED_MODEL = "codes"
FALLBACK_MODEL = "yolov9"
MIN_RESUME_KEY_BYTES = 16


@dataclass(frozen=True)
class Addresses:
    """Where a running process listens; ports as the system chose them."""

    host: str
    port: int
    metrics_port: int


def run(settings: Settings, on_ready: Callable[[Addresses], Awaitable[None]] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, and drains.

    Args:
        settings: All settings.
        on_ready: Awaited once, when every version has settled.

    Raises:
        SetupInvalid: The process cannot start.
    """
    log_as_json(settings.log_level)
    cv2.setNumThreads(1)  # pictures run beside each other, each on one thread
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # or a damaged TIFF could fill the log
    import_onnxruntime()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, on_ready))


def model_sources(settings: Settings) -> list[VersionSource]:
    """The versions that the settings name, those of the repository first.

    A mounted path that was not set and does not exist is simply absent; one that was set and does not exist is a
    version that cannot be loaded.

    Raises:
        SetupInvalid: The repository cannot be read, or two settings name the same version.
    """
    bundled = repository.scan(BUNDLED / "models") if settings.demo else []
    stored = repository.scan(settings.models.repository) if settings.models.repository else []
    model = settings.models.default_model or FALLBACK_MODEL
    mounts = [
        repository.mounted(model, version, path, variable)
        for version, path, field, variable in (
            ("v1", settings.model_v1_path, "model_v1_path", "MODEL_V1_PATH"),
            ("v2", settings.model_v2_path, "model_v2_path", "MODEL_V2_PATH"),
        )
        if field in settings.model_fields_set or path.exists()
    ]
    sources = [*stored, *mounts, *bundled]
    origins: dict[tuple[str, str], str] = {}
    faults = []
    for source in sources:
        earlier = origins.setdefault((source.model, source.version), source.origin)
        if earlier != source.origin:
            faults.append(f"{source.model} {source.version} is named twice, by {earlier} and {source.origin}")
    if faults:
        raise SetupInvalid(faults)
    return sources


def default_model(settings: Settings, sources: list[VersionSource]) -> str:
    """The model that answers where a call names none: as set, else the only one, else a conventional name."""
    models = {source.model for source in sources}
    return settings.models.default_model or (models.pop() if len(models) == 1 else FALLBACK_MODEL)


def open_session(settings: Settings) -> Callable[[Path], OnnxSession]:
    """Opens a model file as the settings say."""
    return partial(OnnxSession, provider=settings.runtime.provider)


def workers(settings: Settings) -> int:
    """Pictures looked at at once: as set, else one per processor that this process may use."""
    return settings.runtime.workers or cpu_limit()


def request_memory_bytes(settings: Settings) -> int:
    """Most bytes that pictures may take, beyond what the idle process has.

    Of a message there are at most three copies: as received, as parsed and as handed on; later as handed on, as the
    decoder gets it and as libtiff reads it. Of each stream one may be arriving beside those. A pixel takes most on a
    worker in a TIFF picture that is one strip of four samples of 16 bits, which libtiff keeps beside the four bytes
    that it makes of them.
    """
    limits = settings.limits
    arriving = limits.max_streams * (limits.max_message_bytes + TRANSPORT_MARGIN_BYTES)
    return 3 * limits.max_bytes_in_flight + 2 * arriving + workers(settings) * (4 * 2 + 4) * limits.max_pixels


def log_as_json(level: str) -> None:
    """One JSON object per line on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "{levelname}{name}{message}",
            style="{",
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger"},
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


async def _serve(settings: Settings, on_ready: Callable[[Addresses], Awaitable[None]] | None) -> None:
    stopping = _Stopping()
    limits, collectors = settings.limits, CollectorRegistry()
    ProcessCollector(registry=collectors)
    scheduler = Scheduler(workers(settings), limits.max_queue)
    budget = ByteBudget(limits.max_bytes_in_flight)
    admission = LimitsInterceptor(
        limits.max_message_bytes,
        limits.max_message_bytes + TRANSPORT_MARGIN_BYTES,
        budget,
        limits.max_requests,
        limits.max_streams,
        limits.receive_timeout_s,
    )
    later = Later()
    metrics = Metrics(
        later,
        collectors,
        queue_depth=lambda: scheduler.depth,
        streams=lambda: admission.streams,
        shed=lambda: {
            **{reason: scheduler.shed[reason] for reason in SHED_REASONS},
            "too_many_requests": admission.refused,
        },
    )

    async def on_change(version: ModelVersion) -> None:
        _log_version(version)
        if version.loaded is not None:
            metrics.add_version(version.model, version.version, version.loaded.signature.provider)
        await server.update_health()

    sources = model_sources(settings)
    registry = Registry(
        sources,
        default_model(settings, sources),
        settings.models.default_version,
        open_session(settings),
        limits.max_pixels,
        on_change,
    )
    auth = [AuthInterceptor(read_callers(settings.auth.callers_file))] if settings.auth.callers_file else []
    detector = DetectorService(
        registry,
        scheduler,
        budget,
        ResumeTokens(_resume_key(settings.streams.resume_key_file)),
        StreamLimits(limits.max_stream_frames, limits.max_message_bytes, limits.receive_timeout_s),
        Observers([metrics.observe]),
    )
    server = DetectorServer(
        registry,
        detector,
        # Outermost first: what is told of calls includes the statuses that errors became, refusals too.
        [
            CallsInterceptor(later, [log_call, metrics.count_unobserved]),
            ErrorsInterceptor(rich_status),
            *auth,
            admission,
        ],
        limits.max_message_bytes,
        limits.max_connection_streams,
        reflection=settings.server.reflection,
    )
    host = settings.server.host
    with _metrics_server(host, settings.server.metrics_port, collectors) as metrics_port:
        port = await server.start(_join(host, settings.server.port), _tls(settings))
        log.info("listening", extra={"host": host, "port": port, "metrics_port": metrics_port})
        if not sources:
            log.error("there are no models: set DETECTOR_MODELS_REPOSITORY or MODEL_V1_PATH, or try --demo")
        loading = asyncio.create_task(_load(registry, on_ready, Addresses(host, port, metrics_port)))
        loading.add_done_callback(stopping.fail)
        await stopping.begun.wait()
        await server.announce_stop()
        log.info("draining")
        await stopping.wait_for_balancers(settings.server.drain_wait_s)
        await server.stop(settings.server.grace_s)
        loading.cancel()
        await scheduler.close()
        later.flush()
    log.info("stopped")
    stopping.raise_failure()


async def _load(
    registry: Registry, on_ready: Callable[[Addresses], Awaitable[None]] | None, addresses: Addresses
) -> None:
    await registry.load_all()
    gc.collect()
    gc.freeze()  # what start-up made stays for good; collections need not look at it again
    if on_ready is not None:
        await on_ready(addresses)


class _Stopping:
    """From the first signal on, the process stops; a second one ends all waiting."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_signal)
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)

    async def wait_for_balancers(self, seconds: float) -> None:
        """Gives load balancers the time to see NOT_SERVING."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    def fail(self, task: asyncio.Task[None]) -> None:
        """Stops the process if the task failed."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._hurry.set()
            self.begun.set()

    def raise_failure(self) -> None:
        """Raises what made the process stop, if it was a failure."""
        if self._failure is not None:
            raise self._failure

    def _on_signal(self) -> None:
        if self.begun.is_set():
            self._hurry.set()
        self.begun.set()

    def _on_interrupt(self) -> None:
        self._hurry.set()  # a person waits, no load balancer
        self.begun.set()


@contextlib.contextmanager
def _metrics_server(host: str, port: int, collectors: CollectorRegistry) -> Iterator[int]:
    try:
        server, thread = start_http_server(port, host, collectors)
    except OSError as error:
        raise SetupInvalid(
            [f"cannot listen on {_join(host, port)} for metrics (DETECTOR_SERVER_METRICS_PORT): {error.strerror}"]
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _log_version(version: ModelVersion) -> None:
    names = {"model": version.model, "version": version.version}
    if version.loaded is not None:
        signature = version.loaded.signature
        log.info("version ready", extra={**names, "digest": signature.digest, "provider": signature.provider})
    elif version.state is ModelState.FAILED:
        log.error("version failed", extra={**names, "cause": version.failure})


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


def _tls(settings: Settings) -> TlsFiles | None:
    tls = settings.tls
    return TlsFiles(tls.certificate, tls.private_key, tls.client_authority) if tls.certificate else None


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
