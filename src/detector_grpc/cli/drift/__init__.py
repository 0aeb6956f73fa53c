"""`detector-grpc drift`: the group."""

from __future__ import annotations

import click

from detector_grpc.cli import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "serve": Lazy("drift.serve:serve", "Watch for drift."),
        "status": Lazy("drift.status:status", "Say whether the world has changed, and how."),
        "watch": Lazy("drift.status:watch", "Say it again and again."),
        "simulate": Lazy("drift.simulate:simulate", "Change the world on purpose, and see whether it is noticed."),
        "report": Lazy("drift.report:report", "Save a page that shows why."),
        "reference": Lazy("drift.reference:reference", "See and change what the world is compared with."),
    },
)
def drift() -> None:
    """Know when the world has changed."""
