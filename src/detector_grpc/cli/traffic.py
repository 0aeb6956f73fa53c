"""`detector-grpc traffic`: how calls that choose no version themselves are shared."""

from __future__ import annotations

import functools
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from detector_grpc import settings
from detector_grpc.cli import Lazy, LazyGroup
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.numbers import Finite
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.accepted import Accepted, accepted, wait_until_accepted
from detector_grpc.gateway.admin import Admin, ask
from detector_grpc.gateway.comparison import comparisons
from detector_grpc.gateway.state import State
from detector_grpc.gateway.traffic import ALL_PERCENT, Traffic, parse_shadow, parse_weights, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.gateway.comparison import Comparison, Interval


@click.group(
    cls=LazyGroup,
    lazy={
        "get": Lazy("traffic:get_", "Say how traffic is shared."),
        "set": Lazy("traffic:set_", "Share traffic by weight."),
        "shadow": Lazy("traffic:shadow", "Send copies of calls to a version."),
        "compare": Lazy("traffic:compare", "Say how far versions agree."),
    },
)
def traffic() -> None:
    """Share traffic among the versions of the default model, while the gateway serves.

    What is printed is what Envoy does, as Envoy says.
    """


def _of_a_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that tell which gateway is meant, and its State as its first argument."""

    @functools.wraps(command)
    def run(*, port: str | None, state: str | None, **arguments: object) -> None:
        flags = {"gateway.port": port, "gateway.state": state}
        given = {path: value for path, value in flags.items() if value is not None}
        command(State(settings.load(given).gateway.folder), **arguments)

    port = click.option(
        "--port", metavar="PORT", help="The gateway's port.  [env: DETECTOR_GATEWAY_PORT; default: 8000]"
    )
    state = click.option(
        "--state", type=click.Path(), help="The gateway's folder.  [env: DETECTOR_GATEWAY_STATE; default: by the port]"
    )
    return port(state(run))


@click.command("get")
@_of_a_gateway
@json_option
def get_(state: State, *, as_json: bool) -> None:
    """Say how traffic is shared.

    The exit code is 1 if the files say something else, e.g. because somebody has edited them and Envoy refused it.
    """
    _report(state, accepted(state), as_json=as_json)


@click.command("set")
@_of_a_gateway
@click.argument("weights", nargs=-1, required=True, metavar="VERSION=WEIGHT...")
@json_option
def set_(state: State, *, weights: tuple[str, ...], as_json: bool) -> None:
    """Share traffic by weight, e.g. v1=80 v2=20.

    Versions that are not named get nothing. No call is lost; streams keep the version that they began with. Files that
    somebody has broken are replaced.
    """
    wanted = parse_weights(weights, state.plan().versions)
    _change(state, lambda now: Traffic(wanted, now.traffic.shadow), as_json=as_json)


@click.command()
@_of_a_gateway
@click.argument("share", metavar="VERSION=PERCENTAGE")
@json_option
def shadow(state: State, *, share: str, as_json: bool) -> None:
    """Send copies of calls to a version, e.g. v2=10%; v2=0% ends it.

    Of the calls that weights send to other versions, this version also gets so many, and its answers are compared.
    """
    wanted = parse_shadow([share], state.plan().versions)

    def shadowed(now: Accepted) -> Traffic:
        if now.traffic_fault:  # which weights were meant is for its writer to say
            weights = Traffic(now.traffic.weights) if now.traffic.weights else "VERSION=WEIGHT"
            raise SetupInvalid([f"{now.traffic_fault}; `detector-grpc traffic set {weights}` would replace the file"])
        return Traffic(now.traffic.weights, wanted)

    _change(state, shadowed, as_json=as_json)


@click.command()
@_of_a_gateway
@click.option(
    "--wanted",
    type=Finite(0, 100),
    default=95,
    show_default=True,
    help="Percentage of boxes that should be the same for two versions to see the same.",
)
@json_option
def compare(state: State, *, wanted: float, as_json: bool) -> None:
    """Say how far the version that got copies agrees with the one that answered, by what all servers have counted.

    Boxes that overlap by half or more are the same. Ranges are 95 % intervals.
    """
    status, body = ask(Admin(state.admin_address()).listener(), "GET", "/metrics")
    if status != HTTPStatus.OK:
        raise SetupInvalid([f"the gateway does not tell the servers' metrics: HTTP {status}"])
    found = comparisons(body.decode())
    if as_json:
        click.echo(json.dumps([each.to_dict() | {"verdict": each.verdict(wanted / 100)} for each in found]))
        return
    if not found:
        raise SetupInvalid(["no call was copied yet; detector-grpc traffic shadow v2=10% begins it"])
    console = Console()
    for each in found:
        console.print(_comparison(each), f"{each.verdict(wanted / 100)}\n", highlight=False)


def _change(state: State, change: Callable[[Accepted], Traffic], *, as_json: bool) -> None:
    """Has the traffic shared as follows from how Envoy shares it now."""
    with state.changing():
        before = accepted(state)
        state.change(change(before))
        for fault in before.faults:
            click.echo(f"Replaced: {fault}", err=True)
        now = wait_until_accepted(state)
    _report(state, now, as_json=as_json)


def _report(state: State, now: Accepted, *, as_json: bool) -> None:
    versions = state.plan().versions
    if as_json:
        click.echo(json.dumps(_facts(now)))
    else:
        Console().print(_table(now.traffic, versions))
    for fault in now.faults:
        click.echo(f"Error: {fault}", err=True)
    if now.faults:
        raise click.exceptions.Exit(1)


def _comparison(of: Comparison) -> Table:
    table = Table("", f"{of.model} {of.version} and {of.shadow}", title_justify="left")
    boxes = of.boxes
    for name, value in (
        ("calls chosen", f"{of.selected}: {of.compared} compared, {of.failed} failed, {of.dropped} dropped"),
        ("pictures with the same boxes", _share(of.same_pictures)),
        ("boxes that are the same", _share(of.same_boxes)),
        ("boxes in both", f"{boxes['agree']} of one class, {boxes['class_differs']} of two"),
        ("boxes in one", f"{boxes['missed']} only in {of.version}, {boxes['extra']} only in {of.shadow}"),
        ("time for a picture", f"{of.version} {_ms(of.first_s)}, {of.shadow} {_ms(of.copy_s)}"),
        (f"{of.shadow} takes longer by", _range(of.slower_s, 1e3, 2, "ms")),
    ):
        table.add_row(name, value)
    return table


def _share(of: Interval) -> str:
    return _range(of, ALL_PERCENT, 1, "%")


def _range(of: Interval, scale: float, digits: int, unit: str) -> str:
    value, low, high = (f"{number * scale:.{digits}f} {unit}" for number in of)
    return f"{value} ({low} to {high})"


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1e3:.2f} ms"


def _facts(now: Accepted) -> dict[str, Any]:
    facts = {"weights": dict(now.traffic.weights), "shadow": dict(now.traffic.shadow)}
    return facts | ({"fault": "; ".join(now.faults)} if now.faults else {})


def _table(traffic: Traffic, versions: tuple[str, ...]) -> Table:
    table = Table("version", "weight", "share", "copies of the others' calls")
    total = sum(traffic.weights.values())
    for version in versions:
        weight = traffic.weights.get(version, 0)
        copies = percent(traffic.shadow[version]) if version in traffic.shadow else ""
        table.add_row(version, str(weight), percent(weight / total) if total else "", copies)
    return table
