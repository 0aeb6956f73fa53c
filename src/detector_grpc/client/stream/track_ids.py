"""Keeps the track ids of a stream apart that has to begin anew on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector_grpc._gen.detector.v1 import detection_pb2


class TrackIds:
    """No id is given to two objects, though every new stream of a server counts from 1."""

    def __init__(self) -> None:
        self._offset = 0
        self._last = 0

    def begin_anew(self) -> None:
        """Says that the server counts from 1 again."""
        self._offset = self._last

    def shift(self, detections: Iterable[detection_pb2.Detection]) -> None:
        """Makes the server's ids those of the whole stream."""
        for detection in detections:
            if detection.HasField("track_id"):
                detection.track_id += self._offset
                self._last = max(self._last, detection.track_id)
