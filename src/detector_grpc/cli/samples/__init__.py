"""`detector-grpc samples`: the group."""

from __future__ import annotations

import click

from detector_grpc.cli import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "list": Lazy("samples.listing:list_", "List what was kept."),
        "show": Lazy("samples.show:show", "Draw a contact sheet."),
        "stats": Lazy("samples.stats:stats", "Count what was kept, and say how unsure of it the model was."),
        "export": Lazy("samples.exchange:export", "Write samples for a labelling tool."),
        "import": Lazy("samples.exchange:import_", "Read the labels that people made with one."),
        "upload": Lazy("samples.upload:upload", "Bring to the sink what waits on this machine."),
        "purge": Lazy("samples.purge:purge", "Erase samples of a stream, a time or a request."),
    },
)
def samples() -> None:
    """Keep the pictures that a model was unsure of, for people to label."""
