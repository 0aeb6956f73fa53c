"""What holds for every stream, whatever a model finds in it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.serving.tracking import Tracker
from detector_grpc.vision.detections import Detections

# Few places and classes, so that boxes meet again.
places = st.sampled_from([0.0, 10.0, 25.0, 60.0, 100.0])
boxes = st.tuples(places, places, st.sampled_from([0.0, 30.0, 50.0]), st.integers(1, 10), st.integers(0, 1))
frames = st.lists(st.none() | st.lists(boxes, max_size=6), max_size=25)


def detections(found: list[tuple[float, ...]]) -> Detections:
    table = np.array(found, np.float64).reshape(-1, 5)
    xyxy = np.hstack([table[:, :2], table[:, :2] + table[:, 2:3]]).astype(np.float32)
    return Detections(xyxy, (table[:, 3] / 10).astype(np.float32), table[:, 4].astype(np.int32))


@given(frames, st.integers(1, 5), st.floats(0, 1), st.integers(0, 100))
def test_identities_are_one_per_frame_of_one_class_never_given_twice_and_numbered_in_turn(
    stream: list[list[tuple[float, ...]] | None], max_lost_frames: int, min_confidence: float, last_track_id: int
) -> None:
    tracker = Tracker(max_lost_frames, min_confidence, last_track_id)
    last_seen, classes = dict[int, int](), dict[int, int]()
    for number, found in enumerate(stream):
        before = tracker.last_track_id
        track_ids = tracker.follow(None if found is None else detections(found))
        assert len(track_ids) == len(found or ())
        given_ids = [track_id for track_id in track_ids if track_id is not None]
        assert len(set(given_ids)) == len(given_ids)
        new = sorted(set(given_ids) - last_seen.keys())
        assert new == list(range(before + 1, tracker.last_track_id + 1))
        for track_id, box in zip(track_ids, found or (), strict=True):
            if track_id is not None:
                assert number - last_seen.get(track_id, number - 1) <= max_lost_frames + 1
                assert classes.setdefault(track_id, int(box[4])) == box[4]
                last_seen[track_id] = number
