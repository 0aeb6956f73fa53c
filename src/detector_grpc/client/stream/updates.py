"""How detections of a stream are chosen, and changes of that while it runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc._gen.detector.v1 import detection_pb2

if TYPE_CHECKING:
    from detector_grpc.client.errors import CallFailed
    from detector_grpc.client.options import DetectOptions


@dataclass(eq=False)
class Update:
    """One change.

    Attributes:
        changes: The options that change.
        done: Whether the server has answered.
        refusal: Why it was refused; None if it was not.
    """

    changes: DetectOptions
    done: bool = False
    refusal: CallFailed | None = None


class Options:
    """The options that hold, and the changes that are still to be made, one after the other.

    Args:
        options: How detections are chosen at first.

    Attributes:
        under_way: Whether a change was sent and not answered.

    Raises:
        ValueError: There is no such option.
    """

    def __init__(self, options: DetectOptions) -> None:
        self.under_way = False
        self._options = options
        self._updates: deque[Update] = deque()
        self.message()

    def message(self) -> detection_pb2.DetectOptions:
        """The options that hold."""
        return detection_pb2.DetectOptions(**self._options)

    def change(self, changes: DetectOptions) -> Update:
        """Notes a change.

        Raises:
            ValueError: There is no such option.
        """
        detection_pb2.DetectOptions(**changes)
        update = Update(changes)
        self._updates.append(update)
        return update

    def next_change(self) -> detection_pb2.DetectOptions | None:
        """The options with the next change, which is under way from now on; None if there is none."""
        if not self._updates:
            return None
        self.under_way = True
        return detection_pb2.DetectOptions(**self._with(self._updates[0]))

    def conclude(self, refusal: CallFailed | None) -> None:
        """Says that the server has answered the change that was under way."""
        update = self._updates.popleft()
        if refusal is None:
            self._options = self._with(update)
        update.done, update.refusal, self.under_way = True, refusal, False

    def _with(self, update: Update) -> DetectOptions:
        return {**self._options, **update.changes}
