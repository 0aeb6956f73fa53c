"""`detector-grpc bench`: one file per command, and what they share."""
