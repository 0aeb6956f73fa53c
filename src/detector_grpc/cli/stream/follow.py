"""One source through one stream: its frames go in; answers are counted, printed and drawn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detector_grpc import headers
from detector_grpc.cli.stream.annotated import VideoFailed
from detector_grpc.cli.stream.sources import SourceFailed
from detector_grpc.client import CallFailed, StreamFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.cli.detecting import Detecting
    from detector_grpc.cli.stream.annotated import AnnotatedVideo
    from detector_grpc.cli.stream.sources import Source
    from detector_grpc.cli.stream.tally import Tally
    from detector_grpc.client import AsyncDetector, Mode, StreamAnswer, Tracking


@dataclass(frozen=True)
class Job:
    """One source and what is to become of its frames.

    Attributes:
        source: Where they come from.
        mode: Whether frames may be dropped.
        tally: Counts their answers.
        tracking: How objects are followed, if they are.
        video: Gets them with their boxes drawn, if anything does.
    """

    source: Source
    mode: Mode
    tally: Tally
    tracking: Tracking | None
    video: AnnotatedVideo | None


class JsonLines:
    """Prints answers, one object a line, for any number of streams; a reader that is slow slows them down."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def write(self, source: str, answer: StreamAnswer[StreamFrame]) -> None:
        """Prints an answer."""
        async with self._turn:
            await asyncio.to_thread(click.echo, json.dumps(_line(source, answer)))


async def follow(
    detector: AsyncDetector,
    job: Job,
    how: Detecting,
    lines: JsonLines | None,
    on_state: Callable[[Job, str], None],
) -> None:
    """Streams a source to its end; the tally says how it went."""
    tally, stopping = job.tally, threading.Event()
    frames = job.source.frames(stopping, lambda state: on_state(job, state), as_if_live=job.mode == "latest")
    try:
        async with detector.stream(
            frames,
            mode=job.mode,
            tracking=job.tracking,
            downscale=how.downscale,
            color="BGR",
            stream_id=stream_id(tally.name),
            **how.options,
        ) as answers:
            tally.begin()
            try:
                async for answer in answers:
                    tally.count(answer)
                    if job.video is not None:
                        await job.video.write(answer)
                    if lines is not None:
                        await lines.write(job.source.name, answer)
            finally:
                stopping.set()  # or the stream would wait for a source that waits
        tally.end("done")
    except (CallFailed, SourceFailed, VideoFailed) as failure:
        tally.fail(str(failure))
    except asyncio.CancelledError:
        tally.end("stopped")
        raise
    finally:
        with contextlib.suppress(ValueError):  # it is still being read, and will be until the process ends
            frames.close()
        if job.video is not None:
            await job.video.close()


def stream_id(name: str) -> str:
    """A name by which drift tells of one source, as metadata can have it."""
    shown = "".join(each if each.isascii() and each.isprintable() else "?" for each in name)
    return shown[: headers.MAX_STREAM_ID]


def _line(source: str, answer: StreamAnswer[StreamFrame]) -> dict[str, Any]:
    line: dict[str, Any] = {"source": source, "frame_id": answer.frame_id}
    if isinstance(answer.frame.picture, Path):
        line["picture"] = click.format_filename(answer.frame.picture)
    if answer.capture_time is not None:
        line["time"] = round(answer.capture_time, 6)
    if answer.result is not None:
        line["image_wh"] = list(answer.result.image_wh)
        line["detections"] = [detection.to_dict() for detection in answer.result]
    elif answer.dropped is not None:
        line["dropped"] = answer.dropped
    else:
        line["error"] = str(answer.error)
    return {**line, "total_ms": round(answer.total_ms, 3)}
