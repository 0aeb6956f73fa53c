"""Models and the flow of one picture through them. Knows nothing of gRPC."""
