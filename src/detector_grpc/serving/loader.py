"""Loads versions and frees them while others answer.

What becomes of a version that is

    not held    load: LOADING, then READY; if that fails, not held
    FAILED      load: LOADING, then READY; if that fails, FAILED
    READY       load: READY all the time; what its files are now is opened beside what they were, and takes its place in
                one step; if that fails, the old goes on
    any         unload: not held

Invariants: a model is closed when no call uses it and none can get it; the orders for one version are carried out one
after the other, in the order of asking, also if who gave one has left. All state belongs to the event loop; threads
only open and close.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from detector_grpc.errors import DetectorError, ModelInvalid, ShuttingDown, VersionFailed
from detector_grpc.serving import golden
from detector_grpc.serving.cpu import CGROUP
from detector_grpc.serving.memory import give_back
from detector_grpc.serving.memory_limit import MemoryLimit
from detector_grpc.serving.registry import ModelState, read_version
from detector_grpc.serving.repository import check_names
from detector_grpc.serving.warm_up import warm_up
from detector_grpc.vision.uncertainty import DEFAULT_MEASURES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from detector_grpc.serving.registry import LoadedModel, ModelVersion, Registry
    from detector_grpc.serving.repository import Sources, Stamp, VersionSource
    from detector_grpc.serving.session import ModelFile
    from detector_grpc.vision.uncertainty import Measures

T = TypeVar("T")

log = logging.getLogger(__name__)

# What opening a model takes at least, by the size of its file: that is in memory as read, as parsed, as edited and as
# the runtime has it, which needs more while it optimises (measured: 4.7 to 7 times).
OPENING = 4


class Loader:
    """Changes what a registry holds. Belongs to the same event loop.

    Args:
        registry: The versions.
        sources: Where they come from.
        open_file: Opens a model file for a look at it; blocking.
        max_pixels: Largest width * height of a picture.
        workers: Pictures that are looked at at once.
        until_unused: Waits until no call uses a LoadedModel.
        on_change: Awaited after every change of the registry.
        measures: How unsure a model is.
        cgroup: Root of the control group file system, whose limit of memory counts.
    """

    def __init__(
        self,
        registry: Registry,
        sources: Sources,
        open_file: Callable[[Path], ModelFile],
        max_pixels: int,
        workers: int,
        until_unused: Callable[[LoadedModel], Awaitable[None]],
        on_change: Callable[[], Awaitable[None]],
        measures: Measures = DEFAULT_MEASURES,
        cgroup: Path = CGROUP,
    ) -> None:
        self._registry = registry
        self._sources = sources
        self._open_file = open_file
        self._max_pixels = max_pixels
        self._workers = workers
        self._until_unused = until_unused
        self._on_change = on_change
        self._measures = measures
        self._memory = MemoryLimit(cgroup)
        self._orders: set[asyncio.Task[Any]] = set()
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._closed = False

    async def load_all(self) -> None:
        """Loads what the registry holds; a failure is that version's alone, and no version waits for another.

        Raises:
            ShuttingDown: `close` was called.
        """
        await asyncio.gather(*map(self._load_held, self._registry.versions()))
        self._registry.started = True
        await self._on_change()

    async def load(self, model: str, version: str) -> ModelVersion:
        """Loads a version, and returns once it is READY and what it replaced is freed.

        A version that is READY is loaded anew if its files have changed.

        Raises:
            InvalidRequest: A name is none.
            VersionNotFound: There is no such version to load.
            VersionFailed: It cannot be loaded; the message says why, for the operator.
            ShuttingDown: `close` was called.
        """
        check_names(model, version)

        async def work() -> ModelVersion:
            try:
                source = await asyncio.to_thread(self._sources.find, model, version)
            except ModelInvalid as error:
                raise VersionFailed(model, version, error.message) from error
            return await self._load(source)

        return await self._in_turn(model, version, work)

    async def unload(self, model: str, version: str) -> None:
        """Stops giving a version to calls, and returns once those that have it have ended and it is freed.

        Raises:
            InvalidRequest: A name is none.
            ModelNotFound: As Registry.find.
            VersionNotHeld: As Registry.find.
            ShuttingDown: `close` was called.
        """
        check_names(model, version)

        async def work() -> None:
            held = self._registry.find(model, version)
            self._registry.drop(held)
            log.info("version unloaded", extra={"model": model, "version": version})
            await self._on_change()
            if held.loaded is not None:
                await self._free(held.loaded)

        await self._in_turn(model, version, work)

    def close(self) -> None:
        """Takes no more orders, and gives up those in progress: whoever waits for one gets ShuttingDown."""
        self._closed = True
        for order in self._orders:
            order.cancel()

    async def _in_turn(self, model: str, version: str, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """Does the work after everything that was asked of the same version before."""

        async def order() -> T:
            async with self._turns.setdefault((model, version), asyncio.Lock()):
                return await work()

        if self._closed:
            raise ShuttingDown
        task = asyncio.create_task(order())
        self._orders.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `close`; else it is who waits that has left
                raise ShuttingDown from None
            raise

    def _forget(self, order: asyncio.Task[Any]) -> None:
        self._orders.discard(order)
        if not order.cancelled():
            order.exception()  # so that asyncio does not complain where nobody waits any more; the log has it

    async def _load_held(self, version: ModelVersion) -> None:
        with contextlib.suppress(VersionFailed):  # the version's state says so
            await self._in_turn(version.model, version.version, lambda: self._load(version.source))

    async def _load(self, source: VersionSource) -> ModelVersion:
        names = {"model": source.model, "version": source.version}
        held = self._registry.get(**names)
        version = held or self._registry.hold(source)
        if held is None or held.state is ModelState.FAILED:
            version.state, version.failure = ModelState.LOADING, ""
            await self._on_change()
        try:
            opened = await asyncio.to_thread(self._open, source, version.stamp)
        except DetectorError as error:
            cause, reason = error.message, error.reason
        except Exception:
            log.exception("loading failed in an unexpected way", extra={"origin": source.origin})
            cause, reason = "unexpected error; the log has its traceback", "UNEXPECTED"
        else:
            if opened is not None:
                await self._publish(version, source, *opened)
            return version
        log.error("version failed", extra={**names, "reason": reason, "cause": cause})
        if version.loaded is None:
            if held is None:
                self._registry.drop(version)
            else:
                version.state, version.failure = ModelState.FAILED, cause
            await self._on_change()
        raise VersionFailed(**names, cause=cause)

    async def _publish(self, version: ModelVersion, source: VersionSource, stamp: Stamp, loaded: LoadedModel) -> None:
        replaced = version.loaded
        version.source, version.stamp, version.loaded = source, stamp, loaded
        version.state, version.failure = ModelState.READY, ""
        log.info(
            "version ready",
            extra={
                "model": version.model,
                "version": version.version,
                "digest": loaded.signature.digest,
                "provider": loaded.pipeline.provider,
            },
        )
        await self._on_change()
        if replaced is not None:
            await self._free(replaced)

    def _open(self, source: VersionSource, present: Stamp | None) -> tuple[Stamp, LoadedModel] | None:
        """Opens a version, warms it up and lets it through the golden gate; blocking.

        Unless its files are those that are present.
        """
        stamp = source.stamp()
        if stamp == present:
            return None
        with self._memory.turn(), contextlib.ExitStack() as always, contextlib.ExitStack() as failed:
            always.callback(give_back)
            sizes = {name: size for name, size, *_ in stamp}
            self._memory.check("to open it", OPENING * sizes.get(source.path.name, 0))
            loaded = read_version(source, self._open_file, self._max_pixels, self._measures)
            failed.callback(loaded.pipeline.close)
            if source.stamp() != stamp:
                raise ModelInvalid(
                    f"{source.origin}: files have changed while they were read; load it again when all are there"
                )
            give_back()  # or what opening left would hide what runs take
            warm_up(loaded.pipeline, self._workers, self._memory)
            golden.check(source.golden_path, loaded.pipeline)
            failed.pop_all()
        give_back()
        return stamp, loaded

    async def _free(self, loaded: LoadedModel) -> None:
        def close() -> None:
            loaded.pipeline.close()
            give_back()

        await self._until_unused(loaded)
        await asyncio.to_thread(close)
