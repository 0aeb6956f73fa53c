"""Keeps processes that belong together running until a signal, and has them stopped in order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from detector_grpc.gateway.supervision.child import Child
    from detector_grpc.stopping import Stopping

    Nothing = Coroutine[None, None, None]

log = logging.getLogger(__name__)


async def run_until_stopped(
    stopping: Stopping, children: Sequence[Child], beside: Sequence[Nothing], stop_in_order: Nothing
) -> None:
    """Keeps all running until they are to stop, and stops them; at a second signal at once.

    Args:
        stopping: When that is. Whoever of all these fails makes it begin.
        children: The processes.
        beside: What is done meanwhile.
        stop_in_order: Stops the processes, those first who give work to others.
    """
    running = [asyncio.create_task(child.run()) for child in children]
    meanwhile = [asyncio.create_task(each) for each in beside]
    for task in (*running, *meanwhile):
        task.add_done_callback(stopping.fail)
    await stopping.begun.wait()
    log.info("stopping")
    for task in meanwhile:
        task.cancel()
    in_order = asyncio.create_task(stop_in_order)
    at_once = asyncio.create_task(stopping.repeated.wait())
    await asyncio.wait({in_order, at_once}, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    if not in_order.done():
        log.warning("asked twice, so all are killed")
    for child in children:  # those that are left
        child.kill()
    await asyncio.gather(*running, return_exceptions=True)
    await in_order
    log.info("stopped")
