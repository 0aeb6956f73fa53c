"""Copies of calls, which servers send to another version of the model, and know by a mark that nobody else can make."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from detector_grpc.vision.agreement import Labelled

# The words in which copies are counted.
METRICS_PREFIX = "object_detection_shadow_"
COPY_OUTCOMES = ("compared", "failed", "dropped")
BOX_OUTCOMES = ("agree", "class_differs", "missed", "extra")
# Sums over pictures of which the variance of a ratio of two sums is made; a is boxes that agree, n all boxes.
MOMENTS = ("aa", "an", "nn")
SIDES = ("first", "copy")


class Seen(NamedTuple):
    """What a version saw in a picture.

    Attributes:
        found: Its boxes.
        model_digest: Digest of its model file.
        duration_s: Seconds that it took for the picture, without waiting for a worker.
    """

    found: Labelled
    model_digest: str
    duration_s: float


class CopyMarks:
    """Makes and reads marks: the id of the call that was copied, and its HMAC-SHA256 (RFC 2104).

    Args:
        key: Secret that the servers share.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, request_id: str) -> str:
        """The mark of a copy of this call."""
        return f"{self._signature(request_id)}.{request_id}"

    def read(self, mark: str) -> str:
        """The id of the call that was copied; empty where the mark is none of ours."""
        signature, _, request_id = mark.partition(".")
        return request_id if hmac.compare_digest(signature.encode(), self._signature(request_id).encode()) else ""

    def _signature(self, request_id: str) -> str:
        return hmac.new(self._key, b"copy " + request_id.encode(), hashlib.sha256).hexdigest()
