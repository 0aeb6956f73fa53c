"""What follows from the settings before anything runs: for the processes that serve, and for commands that look."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from detector_grpc.capture.capturer import MAX_WAITING_BYTES
from detector_grpc.capture.signs import MAX_HELD_BYTES
from detector_grpc.errors import SetupInvalid, listed
from detector_grpc.gateway.plan import Plan
from detector_grpc.rpc.transport import TRANSPORT_MARGIN_BYTES, TlsFiles
from detector_grpc.serving import openvino
from detector_grpc.serving.batching import BatchingSession
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.gpu import providers
from detector_grpc.serving.gpu.providers import GpuOptions
from detector_grpc.serving.openvino import OpenVinoSession
from detector_grpc.serving.parallelism import AdaptiveSession, Parallelism, open_sharing
from detector_grpc.serving.providers import check, opening
from detector_grpc.serving.remote.session import RemoteSession
from detector_grpc.serving.repository import MODEL_FILE, Sources, mounted
from detector_grpc.serving.session import (
    CPU_PROVIDER,
    GPU_PROVIDERS,
    OPENVINO,
    OnnxFile,
    OnnxSession,
    import_onnxruntime,
)
from detector_grpc.setting_sections.base import LOOPBACK
from detector_grpc.settings import address
from detector_grpc.vision.uncertainty import Measures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector_grpc.serving.batching import Engine
    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import Model, Session
    from detector_grpc.settings import Settings

BUNDLED = Path(str(files("detector_grpc"))) / "bundled"
BUNDLED_MODEL = "codes"
FALLBACK_MODEL = "yolov9"


def model_sources(settings: Settings) -> Sources:
    """The places that the settings name.

    A mounted path that was not set and does not exist is simply absent; one that was set and does not exist is a
    version that cannot be loaded.
    """
    model = settings.models.default_model or FALLBACK_MODEL
    mounts: dict[bool, list[VersionSource]] = {True: [], False: []}
    for version, path, field, variable in (
        ("v1", settings.model_v1_path, "model_v1_path", "MODEL_V1_PATH"),
        ("v2", settings.model_v2_path, "model_v2_path", "MODEL_V2_PATH"),
    ):
        mounts[field in settings.model_fields_set].append(mounted(model, version, path, variable))
    repositories = (settings.models.repository, BUNDLED / "models" if settings.demo else None)
    return Sources(
        [folder for folder in repositories if folder],
        mounts=mounts[True],
        defaults=mounts[False],
        versions=settings.models.versions,
    )


def default_model(settings: Settings, sources: Sequence[VersionSource]) -> str:
    """The model that answers where a call names none: as set, else the only one, else a conventional name.

    The bundled model counts only where there is no other.
    """
    own = {source.model for source in sources if not source.path.is_relative_to(BUNDLED)}
    models = own or {source.model for source in sources}
    return settings.models.default_model or (models.pop() if len(models) == 1 else FALLBACK_MODEL)


def gateway_plan(settings: Settings) -> Plan:
    """The gateway that the settings ask for.

    Raises:
        SetupInvalid: The model repository cannot be read.
    """
    gateway, limits = settings.gateway, settings.limits
    sources = model_sources(settings).scan()
    model = default_model(settings, sources)
    return Plan(
        model=model,
        versions=gateway.versions or tuple(sorted(source.version for source in sources if source.model == model)),
        default_version=settings.models.default_version,
        host=gateway.host,
        port=gateway.port,
        certificate=_place(gateway.tls_certificate),
        private_key=_place(gateway.tls_private_key),
        plain_port=gateway.plain_port,
        admin_port=gateway.admin_port,
        metrics_port=gateway.metrics_port,
        http=address(LOOPBACK, gateway.http_port),
        servers=settings.server_addresses,
        servers_authority=_place(gateway.servers_authority),
        drift=settings.drift.target,
        failover=gateway.failover,
        cors_origins=gateway.cors_origins,
        max_message_bytes=limits.max_message_bytes,
        margin_bytes=TRANSPORT_MARGIN_BYTES,
        max_connection_streams=limits.max_connection_streams,
        max_memory_bytes=gateway.max_memory_bytes,
        receive_timeout_s=limits.receive_timeout_s,
        request_timeout_s=gateway.request_timeout_s,
        logs_requests=settings.log_level in ("debug", "info"),
    )


def _place(file: Path | None) -> str:
    """A file for a process that may run in another folder; empty for none."""
    return str(file.absolute()) if file else ""


def no_models(settings: Settings) -> str:
    """Why there is nothing to serve, and what to do about it."""
    repository, versions = settings.models.repository, settings.models.versions
    others = sorted(f"{each.model} {each.version}" for each in replace(model_sources(settings), versions=()).scan())
    if others:
        wanted = " or ".join(versions)
        return f"no model has a version {wanted} (DETECTOR_MODELS_VERSIONS); there are {listed(others)}"
    if repository is None:
        return "there are no models: set DETECTOR_MODELS_REPOSITORY or MODEL_V1_PATH, or try --demo"
    strays = [str(path.relative_to(repository)) for path in sorted(repository.glob("**/*.onnx"))]
    found = f"; there are {listed(strays)}" if strays else ""
    return f"there are no models: {repository} has no <model>/<version>/{MODEL_FILE}{found}"


def check_runtime(settings: Settings, *, runs_models: bool) -> None:
    """Refuses, before any model is opened, what none could be run on.

    Args:
        settings: They.
        runs_models: Whether this process runs them, and does not leave that to the engine process.

    Raises:
        SetupInvalid: It is refused.
    """
    import_onnxruntime()
    provider, engine = settings.runtime.provider, settings.runtime.engine
    if engine is not None and provider not in GPU_PROVIDERS:
        both = f"{provider} (DETECTOR_RUNTIME_PROVIDER) runs in the servers themselves, not in an engine process"
        wanted = f"set {' or '.join(GPU_PROVIDERS)}, or no DETECTOR_RUNTIME_ENGINE"
        raise SetupInvalid([f"{both}: {wanted}"])
    if runs_models:
        check(provider, "DETECTOR_RUNTIME_PROVIDER")


def open_file(settings: Settings, in_flight: Callable[[], int] | None = None) -> Callable[[Path], OnnxFile]:
    """Opens a model file, to be run as the settings say.

    Args:
        settings: They.
        in_flight: Number of pictures that are being looked at and that somebody waits for, by which runs get more than
            one thread. None: none does.
    """
    return partial(OnnxFile, open_session=_open_session(settings, in_flight))


def _open_session(settings: Settings, in_flight: Callable[[], int] | None) -> Callable[[Model], Session]:
    runtime, gpu, threads, beside = settings.runtime, settings.gpu, intra_op_threads(settings), workers(settings)
    if runtime.engine is not None:
        return partial(RemoteSession, runtime.engine, runtime.provider)
    if runtime.provider in GPU_PROVIDERS:
        return lambda model: BatchingSession(open_engines(settings)(model), gpu.max_batch, gpu.max_delay_s)
    if in_flight is None or runtime.provider not in (CPU_PROVIDER, OPENVINO):
        return opening(runtime.provider)
    is_openvino = runtime.provider == OPENVINO
    if threads == 1:
        return partial(OpenVinoSession, streams=beside) if is_openvino else OnnxSession
    open_pair = partial(openvino.open_pair, beside) if is_openvino else open_sharing
    return partial(AdaptiveSession, parallelism=Parallelism(threads, beside, in_flight), open_pair=open_pair)


def open_engines(settings: Settings) -> Callable[[Model], Sequence[Engine]]:
    """Opens a model on the GPUs."""
    options = settings.gpu.model_dump(exclude={"max_delay_s"})
    return partial(providers.open_engines, GpuOptions(settings.runtime.provider, **options))


def uncertainty_measures(settings: Settings) -> Measures:
    """How unsure a model is of a picture.

    Raises:
        SetupInvalid: There is no such measure.
    """
    try:
        return Measures.of(settings.uncertainty.measures)
    except ValueError as error:
        raise SetupInvalid([f"DETECTOR_UNCERTAINTY_MEASURES: {error}"]) from error


def workers(settings: Settings, processes: int = 1) -> int:
    """Pictures that each of so many processes looks at at once: as set, else one per processor that it may use.

    Beside those that the processors have, GPUs have theirs, in the batches that they run.
    """
    runtime, gpu = settings.runtime, settings.gpu
    batched = len(gpu.devices) * gpu.engines * gpu.max_batch if runtime.provider in GPU_PROVIDERS else 0
    return runtime.workers or max(1, cpu_limit() // processes) + math.ceil(batched / processes)


def intra_op_threads(settings: Settings) -> int:
    """Most threads of the model for one picture: as set, else as many as there are processors for this process."""
    return settings.runtime.intra_op_threads or min(workers(settings), cpu_limit())


def tls_files(settings: Settings) -> TlsFiles | None:
    """The server's end of encrypted connections; None for no encryption."""
    tls = settings.tls
    return TlsFiles(tls.certificate, tls.private_key, tls.client_authority) if tls.certificate else None


def request_memory_bytes(settings: Settings) -> int:
    """Most bytes that pictures may take, beyond what the idle process has.

    Of a message there are at most three copies: as received, as parsed and as handed on; later as handed on, as the
    decoder gets it and as libtiff reads it. Of each stream one may be arriving beside those. A pixel takes most on a
    worker in a TIFF picture that is one strip of four samples of 16 bits, which libtiff keeps beside the four bytes
    that it makes of them; recordings have as many workers again. Of what is copied to another version there is the
    picture and the message. What may be kept for people waits for a thread, which decodes one picture at a time.
    """
    limits = settings.limits
    arriving = limits.max_streams * (limits.max_message_bytes + TRANSPORT_MARGIN_BYTES)
    pixels = 2 * workers(settings) * (4 * 2 + 4) * limits.max_pixels
    capture = settings.capture
    kept = MAX_WAITING_BYTES + MAX_HELD_BYTES + 3 * capture.max_picture_bytes + (4 * 2 + 4) * limits.max_pixels
    return (
        3 * limits.max_bytes_in_flight
        + 2 * arriving
        + pixels
        + 2 * settings.shadow.max_bytes
        + (kept if capture.sink != "off" else 0)
    )
