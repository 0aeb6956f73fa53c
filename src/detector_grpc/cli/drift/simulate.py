"""`detector-grpc drift simulate`: a world that changes on purpose."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cv2
import numpy as np

from detector_grpc.cli.connection import connected, sentence
from detector_grpc.cli.drift.connection import STARTER, address_option
from detector_grpc.cli.drift.world import World
from detector_grpc.cli.numbers import Finite
from detector_grpc.cli.stream.sources import SourceFailed, open_source
from detector_grpc.client import AsyncDetector, CallFailed
from detector_grpc.client.drift import Drift
from detector_grpc.drift.simulator import CLASS_MIX, FROZEN, SHIFTS, Replay, class_mix, frozen
from detector_grpc.errors import ImageError
from detector_grpc.vision.decode import MAX_PIXELS, open_encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from detector_grpc.cli.connection import Connection
    from detector_grpc.cli.stream.sources import Source
    from detector_grpc.client import AsyncStreamAnswers

# So good that it does not count as a change itself.
_JPEG_QUALITY = 95
_ASK_EVERY_S = 1.0


@click.command()
@connected
@click.argument("source")
@click.option(
    "--shift", type=click.Choice([*SHIFTS, FROZEN, CLASS_MIX]), required=True, help="What happens to the world."
)
@click.option(
    "--strength",
    type=Finite(0, 1),
    default=1.0,
    show_default=True,
    help="How much: from 0, nothing, to 1, what a person sees at once.",
)
@click.option("--others", metavar="SOURCE", help=f"Pictures of other things, for {CLASS_MIX}.")
@click.option("--at", type=click.IntRange(0), show_default="once it is STABLE", help="Pictures before that happens.")
@click.option("--most", type=click.IntRange(1), default=20_000, show_default=True, help="Pictures after it, at most.")
@click.option("--model", default="", show_default="the server's", help="Name of the model.")
@click.option("--model-version", default="", show_default="the server's choice", help="Version of the model.")
@click.option("--stream-id", default="", help="Name of the camera that the pictures are of.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what happens by chance.")
@address_option("--drift", "drift_address")
def simulate(
    connection: Connection,
    *,
    source: str,
    shift: str,
    strength: float,
    others: str | None,
    at: int | None,
    most: int,
    model: str,
    model_version: str,
    stream_id: str,
    seed: int,
    drift_address: str,
) -> None:
    """Send the pictures of SOURCE to a server again and again, changed from a moment on, until drift is called.

    SOURCE is a video file or a folder of pictures. Never try this on a server that others use: what it sees here it
    takes for the world, and may learn from it.

    The exit code is 1 if it was not called.
    """
    if (shift == CLASS_MIX) != (others is not None):
        raise click.UsageError(f"--shift {CLASS_MIX} and --others go together")
    stopping = threading.Event()
    try:
        frames = _pictures(_open(source), stopping)
        if others is not None:
            change = class_mix(_pictures(_open(others), stopping))
        else:
            change = frozen() if shift == FROZEN else SHIFTS[shift]
        replay = Replay(change, strength, at, seed)
        detector = partial(AsyncDetector, connection.address, model, model_version)
        drift = partial(Drift, drift_address)
        world = World(replay, begins_when_stable=at is None, most=most)
        called = asyncio.run(_run(connection, detector, drift, replay.of(frames), stream_id, world))
    except SourceFailed as failure:
        raise click.ClickException(str(failure)) from failure
    except _DriftFailed as failed:
        raise click.ClickException(sentence(failed.failure, drift_address, "--drift", starter=STARTER)) from failed
    finally:
        stopping.set()
    if not called:
        raise click.ClickException(f"drift was not called of {replay.changed} changed pictures")


_open = partial(open_source, every=1, loop=True)


def _pictures(source: Source, stopping: threading.Event) -> Iterator[NDArray[np.uint8]]:
    """Pictures of a source, RGB.

    Raises:
        SourceFailed: One cannot be read.
    """
    for frame in source.frames(stopping, lambda _: None, as_if_live=False):
        if isinstance(frame.picture, Path):
            try:
                stored = open_encoded(frame.picture.read_bytes(), MAX_PIXELS)
                yield np.ascontiguousarray(stored.pixels(stored.image_wh))
            except (OSError, ImageError) as error:
                raise SourceFailed(f"{click.format_filename(frame.picture)}: {error}") from error
        else:
            yield cv2.cvtColor(np.asarray(frame.picture), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class _DriftFailed(Exception):
    """The process that watches did not answer."""

    def __init__(self, failure: CallFailed) -> None:
        super().__init__(str(failure))
        self.failure = failure


async def _run(
    connection: Connection,
    detector_of: Callable[..., AsyncDetector],
    drift_of: Callable[..., Drift],
    frames: Iterator[NDArray[np.uint8]],
    stream_id: str,
    world: World,
) -> bool:
    """Whether drift was called.

    Raises:
        CallFailed: The server failed.
        SourceFailed: No more pictures can be read.
        _DriftFailed: The process that watches failed.
    """
    how: dict[str, Any] = {"token": connection.token, "tls": connection.tls}
    async with (
        detector_of(**how) as detector,
        drift_of(**how) as drift,
        detector.stream(frames, mode="lossless", jpeg_quality=_JPEG_QUALITY, stream_id=stream_id) as answers,
    ):
        model, version = answers.ready.model, answers.ready.version
        reading = asyncio.create_task(_read(answers))
        try:
            while world.goes_on:
                world.see(await _status(drift, model, version))
                await asyncio.wait([reading], timeout=_ASK_EVERY_S)
                if reading.done():
                    await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])
    return world.was_called


async def _read(answers: AsyncStreamAnswers[NDArray[np.uint8]]) -> None:
    """Reads answers, for good; raises the error of the first that is one."""
    async for answer in answers:
        if answer.error is not None:
            raise answer.error


async def _status(drift: Drift, model: str, version: str) -> dict[str, Any] | None:
    """What is said of the version; None before anything has been observed."""
    try:
        (status,) = await drift.status(model, version)
    except CallFailed as failure:
        if failure.reason == "NOT_WATCHED":
            return None
        raise _DriftFailed(failure) from failure
    else:
        return status
