"""The group."""

from __future__ import annotations

import click

from detector_grpc.cli import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "rate": Lazy("bench.loads:rate", "Send calls at a rate, whatever the server does."),
        "clients": Lazy("bench.loads:clients", "Keep a number of calls under way."),
        "cameras": Lazy("bench.cameras:cameras", "Stream from many cameras at once."),
        "search": Lazy("bench.search:search", "Find the highest rate whose p99 is within a bound."),
        "overload": Lazy("bench.overload:overload", "Ask for more than the server can do."),
    },
)
def bench() -> None:
    """Measure what a server can do.

    Works with every server of the contract, behind a gateway or not. No call is tried twice. Percentiles are by nearest
    rank; latencies count from when a call was due, so that neither a server that stalls nor a generator that is late
    can hide it. Ctrl-C ends a measurement early, and prints what there is.
    """
