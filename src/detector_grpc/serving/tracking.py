"""Identities of objects along a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.errors import TrackingNotInstalled
from detector_grpc.vision import motion
from detector_grpc.vision.boxes import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector_grpc.vision.detections import Detections

# As many as there can be detections in a frame. Of more, those go that were out of sight longest: a stream in which
# everything flickers must neither fill the memory nor take a second per frame.
MAX_TRACKS = 1000

# Lowest overlap of a detection with where an object should be by now.
MIN_IOU = 0.2


def import_assignment() -> Any:  # noqa: ANN401 - a function without types
    """What pairs rows and columns of a matrix so that the sum is highest.

    Raises:
        TrackingNotInstalled: It comes with the extra `tracking`.
    """
    try:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - half a second and 40 MiB for those who track
    except ImportError as error:
        raise TrackingNotInstalled from error
    return linear_sum_assignment


class Tracker:
    """Follows the objects of one stream by the association of ByteTrack (Zhang et al. 2022, arXiv:2110.06864).

    Known objects are first looked for among the confident detections, the rest of them among the others: an object
    half hidden is found with little confidence, but where it should be. What is left of the confident detections are
    new objects. One has an identity from the second frame on that it is seen in, and keeps it within its class.

    Called frame by frame, never by two threads at once. The first one in a process takes a moment to make.

    Args:
        max_lost_frames: Frames that an object may be out of sight without losing its identity; frames that were not
            looked at count, too.
        min_confidence: Lowest confidence at which an unknown object gets an identity.
        last_track_id: Highest identity that was given in the stream that this one continues.

    Attributes:
        last_track_id: Highest identity that was given; 0 for none.

    Raises:
        TrackingNotInstalled: The server was installed without tracking.
    """

    def __init__(self, max_lost_frames: int, min_confidence: float = 0.0, last_track_id: int = 0) -> None:
        self._assign = import_assignment()
        self.last_track_id = last_track_id
        self._max_lost_frames = max_lost_frames
        self._min_confidence = min_confidence
        self._closed = False
        self._states = np.empty((5, 0, 4))
        self._class_id = np.empty(0, np.int32)
        self._track_id = np.empty(0, np.int64)  # 0: seen once
        self._lost_frames = np.empty(0, np.int64)

    def close(self) -> None:
        """Gives no new identities from now on: the stream that continues this one goes on after `last_track_id`."""
        self._closed = True

    def follow(self, detections: Detections | None) -> Sequence[int | None]:
        """The identity of each detection of the next frame; None for one that is not followed yet.

        Args:
            detections: What was found; None where the frame was not looked at.
        """
        self._states = motion.predict(self._states, self._lost_frames == 0)
        self._lost_frames += 1
        track_ids = [] if detections is None else self._look(detections)
        latest = np.argsort(self._lost_frames, kind="stable")[:MAX_TRACKS]
        self._keep(latest[self._lost_frames[latest] <= self._max_lost_frames])
        return track_ids

    def _look(self, detections: Detections) -> list[int | None]:
        confident = detections.confidence >= self._min_confidence
        tracks = self._match(detections, confident)
        seen = tracks[tracks >= 0]
        self._states[:, seen] = motion.correct(self._states[:, seen], detections.xyxy[tracks >= 0])
        self._lost_frames[seen] = 0
        if not self._closed:
            self._identify(seen[self._track_id[seen] == 0])
        track_ids = [int(self._track_id[track]) or None if track >= 0 else None for track in tracks]
        self._keep(np.flatnonzero((self._track_id > 0) | (self._lost_frames == 0)))
        self._begin(detections.take(np.flatnonzero(confident & (tracks < 0))))
        return track_ids

    def _match(self, detections: Detections, confident: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Index of each detection's object; -1 for none."""
        overlaps = iou_matrix(motion.boxes(self._states), detections.xyxy)
        overlaps[(overlaps < MIN_IOU) | (self._class_id[:, None] != detections.class_id)] = 0
        tracks = np.full(len(detections), -1, np.intp)
        known = self._track_id > 0
        for rows, columns in ((known, confident), (known, ~confident), (~known, confident)):
            allowed = np.where(rows[:, None] & columns, overlaps, 0)
            row, column = self._assign(allowed, maximize=True)
            matched = allowed[row, column] > 0
            row, column = row[matched], column[matched]
            tracks[column] = row
            overlaps[row], overlaps[:, column] = 0, 0
        return tracks

    def _identify(self, tracks: NDArray[np.intp]) -> None:
        self._track_id[tracks] = self.last_track_id + 1 + np.arange(len(tracks))
        self.last_track_id += len(tracks)

    def _keep(self, tracks: NDArray[np.intp]) -> None:
        self._states = self._states[:, tracks]
        self._class_id, self._track_id = self._class_id[tracks], self._track_id[tracks]
        self._lost_frames = self._lost_frames[tracks]

    def _begin(self, detections: Detections) -> None:
        unknown = np.zeros(len(detections), np.int64)
        self._states = np.concatenate([self._states, motion.begin(detections.xyxy)], axis=1)
        self._class_id = np.concatenate([self._class_id, detections.class_id])
        self._track_id = np.concatenate([self._track_id, unknown])
        self._lost_frames = np.concatenate([self._lost_frames, unknown])
