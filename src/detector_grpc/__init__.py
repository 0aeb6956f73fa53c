"""Real-time object detection over gRPC."""

__version__ = "0.1.0"
