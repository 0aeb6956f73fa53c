"""`detector-grpc gateway`: the group, and Envoy's configuration."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import click

from detector_grpc import configured
from detector_grpc.cli import Lazy, LazyGroup
from detector_grpc.cli.options import with_settings
from detector_grpc.gateway.state import State

if TYPE_CHECKING:
    from detector_grpc.gateway.plan import Plan
    from detector_grpc.settings import Settings

# Where containers find the files, and where they listen.
CONTAINER_FOLDER = PurePosixPath("/etc/envoy")
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  the container's own network

# Those that MODEL_V1_PATH and MODEL_V2_PATH name.
MOUNTED_VERSIONS = ("v1", "v2")


class Use(NamedTuple):
    """Where a gateway is to run whose servers are not on this machine.

    Attributes:
        server: `host:port` of the servers, where the settings say nothing.
    """

    server: str


USES = {"compose": Use("detector:50051"), "helm": Use("detector-grpc:50051")}


@click.group(
    cls=LazyGroup,
    lazy={
        "render": Lazy("gateway:render", "Write Envoy's configuration."),
        "up": Lazy("gateway_up:up", "Run Envoy and the pages before servers that are elsewhere."),
        "serve": Lazy("gateway_serve:serve", "Serve the page, the docs, health and metrics."),
    },
)
def gateway() -> None:
    """Put Envoy in front of servers."""


@click.command()
@with_settings
@click.option("--for", "use", type=click.Choice(["local", *USES]), default="local", help="Where Envoy will run.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to write to; needed for compose and helm, else --gateway-state.",
)
def render(settings: Settings, *, use: str, out: Path | None) -> None:
    """Write Envoy's configuration.

    The folder also gets what `detector-grpc traffic` needs. How traffic was shared there stays as it is.

    For `compose` and `helm` Envoy must find the files in /etc/envoy, with the process of the pages on its own loopback.
    """
    if use in USES and out is None:
        raise click.UsageError(f"--for {use} needs --out: the files are none for the gateway of this machine")
    plan, place = plan_for(settings, use)
    folder = out or settings.gateway.folder
    State(folder).prepare(plan, place)
    click.echo(str(folder))


def plan_for(settings: Settings, use: str) -> tuple[Plan, PurePosixPath | None]:
    """The gateway, and the folder in which its Envoy will find the files; None: where they are written."""
    plan = configured.gateway_plan(settings)
    if use not in USES:
        return plan, None
    own = settings.gateway
    elsewhere = {
        "host": own.host if "host" in own.model_fields_set else ANY_ADDRESS,
        "versions": own.versions or plan.versions or MOUNTED_VERSIONS,
        "servers": own.servers or (USES[use].server,),
    }
    return plan.model_copy(update=elsewhere), CONTAINER_FOLDER
