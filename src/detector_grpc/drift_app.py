"""The composition root of the drift process: settings become a station, which watches until a signal."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from detector_grpc.configured import tls_files
from detector_grpc.drift.audit import Audit
from detector_grpc.drift.block import BLOCK, DAY_S
from detector_grpc.drift.keeper import Keeper
from detector_grpc.drift.metrics import DriftMetrics
from detector_grpc.drift.monitor import GROUP_SHAPE, Monitor
from detector_grpc.drift.reports import Reports, evidently_command
from detector_grpc.drift.series import Shape
from detector_grpc.drift.station import Station
from detector_grpc.drift.store import Store
from detector_grpc.errors import SetupInvalid
from detector_grpc.interceptors.auth import AuthInterceptor, NamingInterceptor
from detector_grpc.interceptors.callers import read_callers
from detector_grpc.interceptors.calls import CallsInterceptor
from detector_grpc.interceptors.errors import ErrorsInterceptor
from detector_grpc.interceptors.later import Later
from detector_grpc.interceptors.logging import AccessLog
from detector_grpc.interceptors.messages import MessagesInterceptor
from detector_grpc.json_log import logging_to_stderr
from detector_grpc.lock import locked
from detector_grpc.metrics_server import metrics_server
from detector_grpc.rpc.drift_server import MAX_MESSAGE_BYTES, DriftServer
from detector_grpc.rpc.status import rich_status
from detector_grpc.settings import address
from detector_grpc.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from detector_grpc.interceptors.around import AroundInterceptor
    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)

_REFERENCE_FILE = "reference_features.json"

# Nothing takes long here; nor does the end of a process that this one takes the place of.
_GRACE_S = 2.0
_TURN_S = 5.0


def run(settings: Settings) -> None:
    """Watches until SIGTERM or SIGINT.

    Raises:
        SetupInvalid: The process cannot start.
    """
    with (
        logging_to_stderr(settings.log_level),
        _own(settings.drift.folder),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings))


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Has the folder of what is remembered to itself.

    Raises:
        SetupInvalid: It cannot be made, or another process has it.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, _TURN_S))
        except BlockingIOError:
            raise SetupInvalid(
                [f"another `drift serve` remembers in {folder}; choose another DETECTOR_DRIFT_STATE"]
            ) from None
        except OSError as error:
            raise SetupInvalid(
                [f"cannot remember anything in {folder} (DETECTOR_DRIFT_STATE): {error.strerror}"]
            ) from error
        yield


async def _serve(settings: Settings) -> None:
    stopping, collectors, drift = Stopping(), CollectorRegistry(), settings.drift
    ProcessCollector(registry=collectors)
    with closing(Store(drift.folder)) as store:
        station = await asyncio.to_thread(_station, settings, store)
        collectors.register(DriftMetrics(station))
        access_log = AccessLog()
        timeout_s, command = drift.report_timeout_s, evidently_command()
        reports = Reports(station, drift.folder / "reports", drift.report_every_s, timeout_s, command)
        server = DriftServer(
            station, reports, _interceptors(settings, access_log), reflection=settings.server.reflection
        )
        with metrics_server(drift.host, drift.metrics_port, "DETECTOR_DRIFT_METRICS_PORT", collectors) as metrics_port:
            port = server.bind(address(drift.host, drift.port), tls_files(settings))
            await server.start()
            log.info("listening", extra={"host": drift.host, "port": port, "metrics_port": metrics_port})
            parts = [asyncio.create_task(part) for part in (server.last(), reports.run())]
            for part in parts:
                part.add_done_callback(stopping.fail)
            await stopping.begun.wait()
            await server.stop(_GRACE_S)
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        access_log.flush()
    log.info("stopped")
    stopping.raise_failure()


def _station(settings: Settings, store: Store) -> Station:
    """What watches, with all that it remembers."""
    drift, learn_days_s = settings.drift, settings.drift.learn_days * DAY_S
    shape = Shape(first=drift.first_observations // BLOCK, learn_days_s=learn_days_s)
    monitor = Monitor(shape, GROUP_SHAPE._replace(learn_days_s=learn_days_s))
    return Station(monitor, Keeper(monitor, store, _reference_file(settings), Audit(drift.folder)))


def _reference_file(settings: Settings) -> Path:
    """Where references are, for people."""
    path = settings.reference_data_path
    if "reference_data_path" in settings.model_fields_set or path.parent.is_dir():
        return path
    return settings.drift.folder / _REFERENCE_FILE


def _interceptors(settings: Settings, access_log: AccessLog) -> list[AroundInterceptor | MessagesInterceptor]:
    """Outermost first."""
    callers = read_callers(settings.auth.callers_file) if settings.auth.callers_file else None
    certified = [NamingInterceptor()] if settings.tls.client_authority else []
    return [
        CallsInterceptor(Later(), [access_log]),
        ErrorsInterceptor(rich_status),
        *([AuthInterceptor(callers)] if callers else certified),
        MessagesInterceptor(settings.limits.receive_timeout_s, MAX_MESSAGE_BYTES),
    ]
