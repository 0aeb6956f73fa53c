"""`detector-grpc stream`: video to boxes, as it comes."""
