"""Identities of made-up boxes: who is whom is known."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector_grpc.errors import TrackingNotInstalled
from detector_grpc.serving.tracking import MAX_TRACKS, Tracker
from detector_grpc.vision.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Box = tuple[float, float, float, float]

SIDE = 40.0
CAR, BUS = 2, 5
EMPTY = Detections.empty()


def square(x: float, y: float = 100.0) -> Box:
    return x, y, x + SIDE, y + SIDE


def seen(*boxes: Box, class_id: int = CAR, confidence: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, confidence, np.float32),
        np.full(count, class_id, np.int32),
    )


def followed(tracker: Tracker, frames: Iterable[Detections | None]) -> list[list[int | None]]:
    return [list(tracker.follow(frame)) for frame in frames]


def introduced(*boxes: Box, max_lost_frames: int = 30) -> Tracker:
    """A tracker that knows these objects, as 1, 2, …"""
    tracker = Tracker(max_lost_frames)
    assert followed(tracker, [seen(*boxes)] * 5)[-1] == list(range(1, len(boxes) + 1))
    return tracker


class TestFollowing:
    def test_an_object_has_its_identity_from_the_second_frame_on_and_keeps_it_while_it_moves(self) -> None:
        track_ids = followed(Tracker(30), (seen(square(8.0 * frame)) for frame in range(50)))
        assert track_ids == [[None], *([[1]] * 49)]

    def test_an_object_that_is_found_once_has_no_identity_and_uses_none_up(self) -> None:
        tracker = Tracker(30)
        assert followed(tracker, [seen(square(0)), EMPTY, seen(square(0)), EMPTY]) == [[None], [], [None], []]
        assert followed(tracker, [seen(square(500))] * 2) == [[None], [1]]
        assert tracker.last_track_id == 1

    def test_objects_that_cross_keep_their_identities(self) -> None:
        def frame(number: int) -> Detections:
            return seen(square(10.0 * number), square(400 - 10.0 * number, y=110))

        assert followed(Tracker(30), map(frame, range(40)))[1:] == [[1, 2]] * 39

    def test_the_order_of_the_detections_does_not_matter(self) -> None:
        places = [square(100.0 * number) for number in range(8)]
        tracker = introduced(*places)
        order = np.random.default_rng(5).permutation(8)
        assert tracker.follow(seen(*(places[index] for index in order))) == [index + 1 for index in order]

    def test_one_that_appears_later_gets_the_next_identity(self) -> None:
        tracker = introduced(square(0), square(200))
        later = [seen(square(400), square(0), square(200))] * 2
        assert followed(tracker, later) == [[None, 1, 2], [3, 1, 2]]

    def test_an_object_of_another_class_is_another_object(self) -> None:
        tracker = introduced(square(0))
        as_bus = followed(tracker, [seen(square(0), class_id=BUS)] * 3)
        assert as_bus == [[None], [2], [2]]
        assert tracker.follow(seen(square(0), class_id=CAR)) == [1]

    def test_boxes_without_extent_do_no_harm(self) -> None:
        tracker = introduced(square(0))
        point, line = (300.0, 300.0, 300.0, 300.0), (0.0, 50.0, 100.0, 50.0)
        for _ in range(40):
            assert tracker.follow(seen(square(0), point, line))[0] == 1


class TestOutOfSight:
    @pytest.mark.parametrize("unseen", [EMPTY, None], ids=["looked at in vain", "not looked at"])
    @pytest.mark.parametrize(("frames", "after"), [(7, 1), (8, None)])
    def test_an_identity_survives_as_many_frames_as_allowed_and_no_more(
        self, unseen: Detections | None, frames: int, after: int | None
    ) -> None:
        tracker = introduced(square(0), max_lost_frames=7)
        followed(tracker, [unseen] * frames)
        assert tracker.follow(seen(square(0))) == [after]

    def test_an_object_is_expected_where_it_must_have_gone_meanwhile(self) -> None:
        tracker = Tracker(30)
        followed(tracker, (seen(square(10.0 * frame)) for frame in range(20)))
        followed(tracker, [EMPTY] * 10)
        assert tracker.follow(seen(square(300), square(190))) == [1, None]

    def test_an_object_that_another_hides_keeps_its_identity(self) -> None:
        def frame(number: int) -> Detections:
            walking, standing = square(10.0 * number, y=110), square(200)
            hidden = abs(walking[0] - standing[0]) < 0.7 * SIDE
            return seen(walking) if hidden else seen(walking, standing)

        track_ids = followed(Tracker(30), map(frame, range(40)))
        assert [1] in track_ids
        assert all(each in ([1], [1, 2]) for each in track_ids[1:])

    @pytest.mark.parametrize("every", [2, 3, 5])
    def test_identities_survive_frames_that_are_dropped_again_and_again(self, every: int) -> None:
        frames = [
            seen(square(4.0 * number), square(600 - 4.0 * number, y=300)) if number % every == 0 else None
            for number in range(100)
        ]
        track_ids = [each for each in followed(Tracker(30), frames) if each]
        assert track_ids == [[None, None], *([[1, 2]] * (len(track_ids) - 1))]

    def test_dropped_frames_do_not_make_an_object_that_was_seen_once_unknown(self) -> None:
        assert followed(Tracker(30), [seen(square(0)), None, None, seen(square(0))])[-1] == [1]


class TestConfidence:
    def test_an_unknown_object_gets_no_identity_below_the_threshold(self) -> None:
        tracker = Tracker(30, min_confidence=0.6)
        assert followed(tracker, [seen(square(0), confidence=0.5)] * 5) == [[None]] * 5
        assert followed(tracker, [seen(square(0), confidence=0.7)] * 2) == [[None], [1]]

    def test_an_object_must_be_found_with_confidence_twice(self) -> None:
        tracker = Tracker(30, min_confidence=0.6)
        doubtful = seen(square(0), confidence=0.5)
        assert followed(tracker, [seen(square(0)), doubtful, doubtful]) == [[None]] * 3

    def test_a_known_object_is_followed_below_the_threshold(self) -> None:
        tracker = Tracker(30, min_confidence=0.6)
        followed(tracker, [seen(square(0))] * 2)
        assert followed(tracker, [seen(square(0), confidence=0.1)] * 40) == [[1]] * 40

    def test_a_confident_detection_goes_before_one_that_is_not_but_lies_better(self) -> None:
        tracker = Tracker(30, min_confidence=0.6)
        followed(tracker, [seen(square(0))] * 5)
        both = seen(square(0), square(15))
        doubtful_first = Detections(both.xyxy, np.array([0.3, 0.9], np.float32), both.class_id)
        assert tracker.follow(doubtful_first) == [None, 1]


class TestNumbers:
    def test_they_go_on_where_the_stream_before_ended(self) -> None:
        tracker = Tracker(30, last_track_id=41)
        assert tracker.last_track_id == 41
        assert followed(tracker, [seen(square(0), square(200))] * 2)[-1] == [42, 43]
        assert tracker.last_track_id == 43

    def test_a_closed_tracker_gives_none_and_follows_whom_it_knows(self) -> None:
        tracker = introduced(square(0))
        tracker.close()
        assert followed(tracker, [seen(square(0), square(200))] * 3) == [[1, None]] * 3
        assert tracker.last_track_id == 1


def random_squares(random: np.random.Generator, count: int) -> Sequence[Box]:
    return [square(x, y) for x, y in random.uniform(0, 1e5, (count, 2))]


def test_of_too_many_objects_those_are_forgotten_that_were_out_of_sight_longest() -> None:
    random = np.random.default_rng(7)
    first, second = random_squares(random, MAX_TRACKS // 2 + 1), random_squares(random, MAX_TRACKS // 2)
    tracker = Tracker(10_000)
    followed(tracker, [seen(*first)] * 2)
    followed(tracker, [seen(*second)] * 2)
    again = tracker.follow(seen(*first))
    assert [track_id for track_id in again if track_id] == list(range(1, MAX_TRACKS // 2 + 1))
    assert again.count(None) == 1


def test_without_the_extra_there_is_no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(TrackingNotInstalled, match=r"detector-grpc\[tracking\]"):
        Tracker(30)
