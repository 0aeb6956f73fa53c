"""What cameras came to, as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from detector_grpc.bench.percentiles import Percentiles
from detector_grpc.bench.report import counted, lateness_warning, per_second
from detector_grpc.bench.timeline import Second, timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.bench.cameras import Filmed, Frame


@dataclass(frozen=True)
class Share:
    """How evenly the server looks at the cameras' frames.

    Attributes:
        looked_at: Frames that were looked at, by camera.
        smallest_to_largest: The smallest of these by the largest. Range [0, 1].
        jain: Jain's index: 1 if all are alike, 1 / N if one of N cameras has everything. Range (0, 1].
    """

    looked_at: Sequence[int]
    smallest_to_largest: float
    jain: float

    @classmethod
    def of(cls, looked_at: Sequence[int]) -> Share | None:
        """That of these numbers; None if nothing was looked at."""
        if not any(looked_at):
            return None
        squares = sum(count * count for count in looked_at)
        return cls(tuple(looked_at), min(looked_at) / max(looked_at), sum(looked_at) ** 2 / (len(looked_at) * squares))


@dataclass(frozen=True)
class CameraReport:
    """Cameras and how a server bore them.

    Attributes:
        seconds: Length of the window.
        cameras: Number of cameras.
        fps: Pictures per second and camera.
        frames: Frames that were due within the window, whether there was a stream or not.
        looked_at: Those that were looked at.
        looked_at_per_s: The same per second.
        dropped: Numbers of frames by why they were dropped.
        failed: Numbers of frames by how they failed.
        unsent: Frames that were not sent, as their camera had no stream.
        unanswered: Frames that were sent and never got an answer.
        streams_failed: Numbers of streams by how they ended early, or were not taken on; the warm-up included.
        first_failed_at_s: When the first of these failed, since the window began, negative in the warm-up; None if
            none did.
        streams_reopened: Number of streams that were taken on afterwards.
        age: From taking the picture to its answer, as seen from here, of frames that were looked at.
        age_at_server: From the frame's arrival to its answer, as the server says.
        jitter: How much the age changes from one frame of a camera that was looked at to the next.
        share: How evenly the cameras were treated; None if nothing was looked at.
        lateness: How much later than they were taken frames were sent.
        cpu_ms_per_frame: CPU time of the generator; 0 if no frame was sent.
        timeline: Second by second.
        cut_short: Whether the measurement was stopped early.
        warnings: Why figures are not what they seem, in sentences.
    """

    seconds: float
    cameras: int
    fps: float
    frames: int
    looked_at: int
    looked_at_per_s: float
    dropped: Mapping[str, int]
    failed: Mapping[str, int]
    unsent: int
    unanswered: int
    streams_failed: Mapping[str, int]
    first_failed_at_s: float | None
    streams_reopened: int
    age: Percentiles | None
    age_at_server: Percentiles | None
    jitter: Percentiles | None
    share: Share | None
    lateness: Percentiles | None
    cpu_ms_per_frame: float
    timeline: Sequence[Second]
    cut_short: bool
    warnings: Sequence[str]

    @classmethod
    def of(cls, filmed: Filmed, fps: float) -> CameraReport:
        """Counts and sorts."""
        by_camera = [[frame for frame in camera.frames if frame.due_s >= 0] for camera in filmed.cameras]
        frames = [frame for each in by_camera for frame in each]
        looked_at = [list(filter(_is_looked_at, each)) for each in by_camera]
        answers = [frame.answer for frame in frames if frame.answer is not None]
        age = Percentiles.of([_age_s(frame) for each in looked_at for frame in each])
        lateness = Percentiles.of([frame.sent_s - frame.due_s for frame in frames if frame.sent_s is not None])
        seen = sum(map(len, looked_at))
        unsent = sum(frame.sent_s is None for frame in frames)
        unanswered = len(frames) - unsent - len(answers)
        gaps = [gap for camera in filmed.cameras for gap in camera.gaps]
        warnings = lateness_warning(lateness, age, "age")
        if unsent:
            warnings.append(f"{unsent} frames were not sent, as there was no stream: ages say nothing of these")
        if unanswered:
            warnings.append(f"{unanswered} frames never got an answer")
        return cls(
            seconds=filmed.seconds,
            cameras=len(by_camera),
            fps=fps,
            frames=len(frames),
            looked_at=seen,
            looked_at_per_s=per_second(seen, filmed.seconds),
            dropped=dict(Counter(answer.dropped for answer in answers if answer.dropped).most_common()),
            failed=counted(answer.failure for answer in answers),
            unsent=unsent,
            unanswered=unanswered,
            streams_failed=counted(gap.failure for gap in gaps),
            first_failed_at_s=min((gap.began_s for gap in gaps), default=None),
            streams_reopened=sum(gap.ended_s is not None for gap in gaps),
            age=age,
            age_at_server=Percentiles.of(
                [frame.answer.age_ms / 1e3 for each in looked_at for frame in each if frame.answer is not None]
            ),
            jitter=Percentiles.of(
                [abs(_age_s(later) - _age_s(earlier)) for each in looked_at for earlier, later in pairwise(each)]
            ),
            share=Share.of([len(each) for each in looked_at]),
            lateness=lateness,
            cpu_ms_per_frame=filmed.cpu_ms_per_frame,
            timeline=timeline((frame.due_s, _age_s(frame) if _is_looked_at(frame) else None) for frame in frames),
            cut_short=filmed.cut_short,
            warnings=tuple(warnings),
        )


def ages_s(filmed: Filmed) -> tuple[list[float], list[float]]:
    """Ages of the frames that count and were looked at, in seconds: as seen from here, and as the server says."""
    frames = [frame for camera in filmed.cameras for frame in camera.frames if frame.due_s >= 0]
    return (
        [_age_s(frame) for frame in frames if _is_looked_at(frame)],
        [frame.answer.age_ms / 1e3 for frame in frames if frame.answer is not None and _is_looked_at(frame)],
    )


def _is_looked_at(frame: Frame) -> bool:
    return frame.answer is not None and frame.answer.dropped is None and frame.answer.failure is None


def _age_s(frame: Frame) -> float:
    return 0.0 if frame.answered_s is None else frame.answered_s - frame.due_s
