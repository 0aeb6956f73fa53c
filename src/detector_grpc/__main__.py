"""`python -m detector_grpc` is `detector-grpc`."""

from detector_grpc.cli import main

main()
