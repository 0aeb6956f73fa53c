"""Identities of objects along a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector_grpc.vision.detections import Detections


class Tracker(Protocol):
    """Follows the objects of one stream. Called frame by frame, never by two threads at once.

    Attributes:
        last_track_id: Highest identity that was given; 0 for none.
    """

    last_track_id: int

    def follow(self, detections: Detections | None) -> Sequence[int | None]:
        """The identity of each detection of the next frame; None for one that is not followed yet.

        Args:
            detections: What was found; None where the frame was not looked at.
        """
