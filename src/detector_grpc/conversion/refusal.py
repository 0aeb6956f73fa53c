"""What ends a conversion that was expected to be able to fail."""

from __future__ import annotations

from detector_grpc.hub.source import PullFailed


class ConversionFailed(PullFailed):
    """Expected. No model file comes of a checkpoint; the message says why, and what to do."""


class EnvironmentBroken(ConversionFailed):
    """Expected. What would convert cannot be started, or lacks packages."""
