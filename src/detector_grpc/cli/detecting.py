"""What the commands that detect are asked alike: by which model, and how detections are chosen."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from detector_grpc.cli.numbers import Finite
from detector_grpc.client import AsyncDetector, DetectOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.cli.connection import Connection

_OPTIONS = (
    click.option("--model", default="", show_default="the server's", help="Name of the model."),
    click.option("--model-version", default="", show_default="the server's choice", help="Version of the model."),
    click.option("--confidence", type=Finite(0, 1), show_default="the version's", help="Lowest confidence."),
    click.option("--iou", type=Finite(0, 1), show_default="the version's", help="Highest overlap of two boxes."),
    click.option("--class", "classes", multiple=True, metavar="NAME", help="Class to return; may be repeated."),
    click.option("--max-detections", type=click.IntRange(1, 1000), show_default="the version's", help="Most boxes."),
    click.option("--downscale", is_flag=True, help="Send no more pixels than the model looks at."),
)


@dataclass(frozen=True)
class Detecting:
    """How to detect.

    Attributes:
        model: Name of the model; empty for the server's default.
        version: Version of the model; empty for the server's choice.
        options: How detections are chosen.
        downscale: Whether to send no more pixels than the model looks at.
    """

    model: str
    version: str
    options: DetectOptions
    downscale: bool

    def detector(self, connection: Connection) -> AsyncDetector:
        """A detector of this model."""
        return AsyncDetector(connection.address, self.model, self.version, token=connection.token, tls=connection.tls)


def detecting(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command these options, as its argument `how`."""

    @functools.wraps(command)
    def run(
        *arguments: object,
        model: str,
        model_version: str,
        confidence: float | None,
        iou: float | None,
        classes: tuple[str, ...],
        max_detections: int | None,
        downscale: bool,
        **others: object,
    ) -> None:
        options = DetectOptions(
            confidence_threshold=confidence, iou_threshold=iou, classes=classes, max_detections=max_detections
        )
        command(*arguments, how=Detecting(model, model_version, options, downscale), **others)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run
