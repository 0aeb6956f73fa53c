"""The sink that the settings name, for commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from detector_grpc.capture.sinks.sink import SinkError
from detector_grpc.capturing import sample_sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector_grpc.capture.sinks.sink import Sink
    from detector_grpc.settings import Settings


@contextmanager
def opened_sink(settings: Settings) -> Iterator[Sink]:
    """The sink; what it cannot do ends the command with a sentence.

    Raises:
        click.ClickException: There is none, or it does not do what it is asked to.
        SetupInvalid: It cannot be used as the settings say.
    """
    sink = sample_sink(settings)
    if sink is None:
        raise click.ClickException("DETECTOR_CAPTURE_SINK is off, so there are no samples")
    try:
        yield sink
    except SinkError as error:
        raise click.ClickException(error.advice) from error
    except OSError as error:
        raise click.ClickException(f"{settings.capture.state_folder}: {error.strerror}") from error
