"""The composition root of the engine process: settings become models on GPUs, for the servers of this machine."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import TYPE_CHECKING

from detector_grpc.configured import check_runtime, open_engines
from detector_grpc.errors import SetupInvalid
from detector_grpc.json_log import logging_to_stderr
from detector_grpc.serving.remote.server import EngineServer
from detector_grpc.stopping import Stopping

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Runs models until SIGTERM or SIGINT; servers that are left then are told that the engine has gone.

    Raises:
        SetupInvalid: The process cannot start.
    """
    path = settings.runtime.engine
    if path is None:
        raise SetupInvalid(["there is no socket to listen on: set DETECTOR_RUNTIME_ENGINE"])
    check_runtime(settings, runs_models=True)
    _open_all_files_that_may_be()
    with logging_to_stderr(settings.log_level), asyncio.Runner() as runner:
        runner.run(_serve(settings, path))


async def _serve(settings: Settings, path: Path) -> None:
    stopping = Stopping()
    gpu = settings.gpu
    try:
        server = EngineServer(path, open_engines(settings), gpu.max_batch, gpu.max_delay_s)
    except OSError as error:
        raise SetupInvalid([f"cannot listen on {path} (DETECTOR_RUNTIME_ENGINE): {error.strerror}"]) from error
    log.info("listening", extra={"socket": str(path)})
    await stopping.begun.wait()
    await asyncio.to_thread(server.close)
    log.info("stopped")


def _open_all_files_that_may_be() -> None:
    """Each thread of each server has two files open for each model: more than the thousand of most systems, soon."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
