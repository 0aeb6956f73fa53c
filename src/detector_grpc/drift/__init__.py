"""Whether the pictures and detections of late differ from those that a model version is used to. No grpc."""
