"""Streams are watched within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from support.samples import outcome

from detector_grpc.capture import signs
from detector_grpc.capture.signs import MAX_STREAMS, Signs
from detector_grpc.vision.agreement import Labelled

NONE = Labelled(np.empty((0, 4), np.float32), [])
PICTURE = b"picture"
ONE = Labelled(np.array([[0, 0, 9, 9]], np.float32), ["car"])


class Watch:
    """Signs whose clock is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.signs = Signs(lambda: self.now)

    def see(self, found: Labelled, stream: str = "hall", number: int = 0) -> tuple[int | None, float] | None:
        known = self.signs.flickered(stream, outcome(PICTURE, frame_id=number), found)
        return known and (known[0].frame_id, known[1])


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_frame_is_told_with_the_share_of_its_objects_that_flickered(watch: Watch) -> None:
    assert [watch.see(found, number=number) for number, found in enumerate((ONE, NONE, ONE))] == [None, None, (1, 1.0)]
    watch.now += 1
    assert [watch.see(found, number=number) for number, found in enumerate((ONE, ONE, ONE))] == [None, None, (1, 0.0)]


def test_of_each_stream_three_frames_are_looked_at_in_a_second(watch: Watch) -> None:
    known = []
    for number in range(20):
        watch.now += 0.25
        known.append(watch.see((ONE, NONE)[number % 2], number=number))

    assert [number for number, each in enumerate(known) if each] == [2, 8, 14]


def test_streams_are_not_mixed_and_those_silent_longest_are_forgotten(watch: Watch) -> None:
    for number in range(MAX_STREAMS + 1):
        for found in (ONE, NONE):
            watch.see(found, str(number))

    assert watch.see(ONE, "0") is None
    assert watch.see(ONE, str(MAX_STREAMS)) == (0, 1.0)
    assert watch.signs._held_bytes == (MAX_STREAMS - 1) * len(PICTURE)


def test_frames_beyond_the_bound_are_not_waited_for(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "MAX_HELD_BYTES", len(PICTURE))
    known = {}
    for found in (ONE, NONE, ONE):
        for stream in ("hall", "yard"):
            known[stream] = watch.see(found, stream)

    assert known == {"hall": (0, 1.0), "yard": None}
    assert watch.signs._held_bytes == 0
