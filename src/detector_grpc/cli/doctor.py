"""`detector-grpc doctor`: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detector_grpc import configured
from detector_grpc.capture.sinks.sink import SinkError, put_readme
from detector_grpc.capturing import sample_sink
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.options import with_settings
from detector_grpc.errors import DetectorError, SetupInvalid, TrackingNotInstalled
from detector_grpc.gateway.supervision.ports import listen, why_not
from detector_grpc.interceptors.callers import read_callers
from detector_grpc.rpc.transport import check_server_files
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.memory_limit import room
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.remote.session import why_no_engine
from detector_grpc.serving.session import OnnxFile, import_onnxruntime
from detector_grpc.serving.tracking import import_assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from detector_grpc.settings import Settings

MIB = 1024 * 1024

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What was looked at.
        verdict: Whether it will do.
        detail: What was found, and for a fault what to do.
    """

    what: str
    verdict: Literal["ok", "warning", "fault"]
    detail: str


@click.command()
@with_settings
@json_option
def doctor(settings: Settings, *, as_json: bool) -> None:
    """Check model files, providers, threads, memory and ports for a server with these settings.

    Exit code 1 if something would keep it from serving.
    """
    findings = list(_examine(settings))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("", "what", "found")
        for finding in findings:
            table.add_row(Text(finding.verdict, _COLOURS[finding.verdict]), Text(finding.what), Text(finding.detail))
        Console().print(table)
    if any(finding.verdict == "fault" for finding in findings):
        sys.exit(1)


def _examine(settings: Settings) -> Iterator[Finding]:
    runtime = list(_runtime(settings))
    yield from runtime
    if any(finding.verdict == "fault" for finding in runtime):
        yield from _models(settings, OnnxFile)  # all that can be said of them is how they would be read
    else:
        yield from _models(settings, configured.open_file(settings))
    yield _tracking()
    yield _threads(settings)
    yield _memory(settings)
    yield _samples(settings)
    yield from _ports(settings)
    yield from _access(settings)


def _runtime(settings: Settings) -> Iterator[Finding]:
    builds = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(builds) > 1:
        yield Finding(
            "ONNX Runtime", "fault", "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, install one"
        )
        return
    try:
        runtime = import_onnxruntime()
    except SetupInvalid as error:
        yield Finding("ONNX Runtime", "fault", error.message)
        return
    yield Finding("ONNX Runtime", "ok", f"{builds[0] if builds else 'onnxruntime'} {runtime.__version__}")
    engine = settings.runtime.engine
    what = "provider" if engine is None else "engine"
    try:
        configured.check_runtime(settings, runs_models=engine is None)
    except SetupInvalid as error:
        yield Finding(what, "fault", error.message)
        return
    if engine is None:
        yield Finding(what, "ok", settings.runtime.provider)
    elif why := why_no_engine(engine):
        yield Finding(what, "fault", f"{why}; DETECTOR_RUNTIME_ENGINE names its socket")
    else:
        yield Finding(what, "ok", f"a process listens at {engine}")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _models(settings: Settings, open_file: Callable[[Path], OnnxFile]) -> Iterator[Finding]:
    try:
        sources = configured.model_sources(settings).scan()
    except SetupInvalid as error:
        yield Finding("models", "fault", error.message)
        return
    if not sources:
        yield Finding("models", "fault", configured.no_models(settings))
    for source in sources:
        what = f"{source.model} {source.version}"
        try:
            loaded = open_version(source, open_file, settings.limits.max_pixels)
        except DetectorError as error:
            yield Finding(what, "fault", error.message)
        else:
            height, width = loaded.spec.input.hw
            yield Finding(
                what, "ok", f"{width} x {height}, {len(loaded.spec.class_names)} classes, {loaded.pipeline.provider}"
            )
    default = (configured.default_model(settings, sources), settings.models.default_version)
    if sources and default not in {(source.model, source.version) for source in sources}:
        detail = (
            f"{default[0]} {default[1]} is the default and not there (DETECTOR_MODELS_DEFAULT_MODEL, …_DEFAULT_VERSION)"
        )
        yield Finding("default version", "warning", detail)


def _tracking() -> Finding:
    try:
        import_assignment()
    except TrackingNotInstalled as error:
        return Finding("tracking", "warning", error.message)
    return Finding("tracking", "ok", "streams may ask for identities of objects")


def _threads(settings: Settings) -> Finding:
    count, limit = configured.workers(settings), cpu_limit()
    detail = f"{count} workers on {limit} processors that this process may use ({os.cpu_count()} in the machine)"
    return Finding("threads", "warning" if count > limit else "ok", detail)


def _memory(settings: Settings) -> Finding:
    most, limit = configured.request_memory_bytes(settings) // MIB, _memory_limit_bytes() // MIB
    detail = f"requests may take {most} MiB beyond the idle process, the limit is {limit} MiB"
    if most < limit:
        return Finding("memory", "ok", detail)
    return Finding("memory", "warning", f"{detail}: lower DETECTOR_LIMITS_MAX_BYTES_IN_FLIGHT or …_MAX_PIXELS")


def _memory_limit_bytes() -> int:
    """The control group's limit, else the machine's memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    there = room()
    return min(total, there.limit_bytes) if there else total


def _samples(settings: Settings) -> Finding:
    """Whether what the model is unsure of can be kept; in a bucket by putting there what a server puts there first."""
    what = "samples"
    try:
        sink = sample_sink(settings)
        if sink is None:
            return Finding(what, "ok", "none are kept (DETECTOR_CAPTURE_SINK)")
        state = settings.capture.state_folder
        if settings.capture.sink == "s3":
            put_readme(sink)
    except SetupInvalid as error:
        return Finding(what, "fault" if settings.capture.sink == "s3" else "warning", error.message)
    except SinkError as error:
        return Finding(what, "warning", error.advice)
    there = next(folder for folder in (state, *state.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(what, "warning", f"{there} cannot be written: set DETECTOR_CAPTURE_STATE to another folder")
    return Finding(what, "ok", f"kept in {state} until they are in {sink.place}")


def _ports(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    for what, host, port in (
        ("gRPC port", server.host, server.port),
        ("metrics port", server.host, server.metrics_port),
        ("admin port", server.admin_host, server.admin_port),
    ):
        try:
            listen(host, port).close()
        except OSError as error:
            yield Finding(what, "fault", f"{host}:{port}: {why_not(error)}")
        else:
            yield Finding(what, "ok", f"{host}:{port} is free")


def _access(settings: Settings) -> Iterator[Finding]:
    tls = configured.tls_files(settings)
    if tls is not None:
        try:
            check_server_files(tls)
        except SetupInvalid as error:
            yield Finding("TLS", "fault", error.message)
        else:
            yield Finding("TLS", "ok", f"{tls.certificate}")
    if settings.auth.callers_file is not None:
        try:
            callers = read_callers(settings.auth.callers_file)
        except SetupInvalid as error:
            yield Finding("callers", "fault", error.message)
        else:
            yield Finding("callers", "ok", f"{len(callers.by_token) + len(callers.by_identity)} known")
    elif settings.auth.mode == "open" and not settings.tls.client_authority:
        hosts = " or ".join(dict.fromkeys((settings.server.host, settings.server.admin_host)))
        yield Finding("callers", "warning", f"anybody who reaches {hosts} may make every call")
