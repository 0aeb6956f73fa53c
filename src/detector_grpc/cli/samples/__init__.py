"""`detector-grpc samples`: the group."""

from __future__ import annotations

import click

from detector_grpc.cli import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "upload": Lazy("samples.upload:upload", "Bring to the sink what waits on this machine."),
        "purge": Lazy("samples.purge:purge", "Erase samples of a stream, a time or a request."),
    },
)
def samples() -> None:
    """Keep the pictures that a model was unsure of, for people to label."""
