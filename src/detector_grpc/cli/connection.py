"""How the commands that call a server reach it, and what they say when they do not."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detector_grpc.client import CallFailed, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_ADDRESS = click.option(
    "--address",
    default="localhost:50051",
    show_default=True,
    envvar="DETECTOR_ADDRESS",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Server or gateway to call.",
)
_OPTIONAL_ADDRESS = click.option("--address", metavar="HOST:PORT", help="Server or gateway to call, if any.")
_ADMIN_ADDRESSES = click.option(
    "--admin-address",
    "addresses",
    multiple=True,
    default=["localhost:50101"],
    show_default=True,
    envvar="DETECTOR_ADMIN_ADDRESS",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Admin port of a server process; to be repeated for others.",
)
_CREDENTIALS = (
    click.option("--token-file", type=_FILE, help="File that holds the bearer token to show."),
    click.option("--tls", is_flag=True, help="Use TLS and trust the usual authorities; implied by --tls-…."),
    click.option("--tls-ca", type=_FILE, help="PEM file of the authorities to trust instead."),
    click.option("--tls-cert", type=_FILE, help="PEM file of the certificate to show."),
    click.option("--tls-key", type=_FILE, help="PEM file of its private key."),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True)
class Connection:
    """Where and how to call.

    Attributes:
        address: "host:port".
        token: Bearer token, or None to show none.
        tls: Certificates, or None for no TLS.
    """

    address: str
    token: str | None
    tls: TlsFiles | None


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of a connection, and the Connection as its first argument.

    A call that fails ends the command with a sentence and exit code 1.
    """
    return connected_to(_ADDRESS, command)


def perhaps_connected(command: Callable[..., None]) -> Callable[..., None]:
    """As `connected`, for commands that also work without a server: without --address the Connection is None."""
    return connected_to(_OPTIONAL_ADDRESS, command)


def connected_to(
    address: Callable[..., Any], command: Callable[..., None], starter: str = "serve"
) -> Callable[..., None]:
    """As `connected`, with another option for the address, of what `starter` starts."""
    addressed: Callable[..., None] = address(_with_connection(command, starter))
    return addressed


def connected_to_processes(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of connections to admin ports, and a list of Connections as its first argument."""

    @functools.wraps(command)
    def run(*, addresses: tuple[str, ...], token: str | None, tls: TlsFiles | None, **arguments: object) -> None:
        command([Connection(address, token, tls) for address in addresses], **arguments)

    return _ADMIN_ADDRESSES(_with_credentials(run))


def _with_connection(command: Callable[..., None], starter: str) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*, address: str | None, token: str | None, tls: TlsFiles | None, **arguments: object) -> None:
        if address is not None and not address.strip():
            raise click.UsageError("the address is empty; it names a server or a gateway as HOST:PORT")
        try:
            command(None if address is None else Connection(address, token, tls), **arguments)
        except CallFailed as failure:
            raise click.ClickException(sentence(failure, str(address), starter=starter)) from failure

    return _with_credentials(run)


def _with_credentials(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(
        *,
        token_file: Path | None,
        tls: bool,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        **arguments: object,
    ) -> None:
        if (tls_cert is None) != (tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key go together")
        files = TlsFiles(tls_cert, tls_key, tls_ca)
        token = token_file.read_text().strip() if token_file else None
        command(token=token, tls=files if tls or files != TlsFiles() else None, **arguments)

    for option in reversed(_CREDENTIALS):
        run = option(run)
    return run


def is_unreachable(failure: CallFailed) -> bool:
    """Whether no server of ours has answered at all."""
    return failure.code == "UNAVAILABLE" and not failure.reason


def sentence(failure: CallFailed, address: str, option: str = "--address", *, starter: str = "serve") -> str:
    """What a failed call means to somebody at a terminal; the option named the address, of what `starter` starts."""
    if not is_unreachable(failure):
        return str(failure)
    # gRPC puts its whole path to the cause before it, and at times a bracket or its own verdict behind it.
    cause = failure.message.removesuffix(": OK").rpartition(": ")[2].rstrip("]")
    return (
        f"no answer from {address} ({cause}). Is a server running there (`detector-grpc {starter}` starts one, "
        f"{option} names another), and is the connection encrypted on both sides or on neither (--tls, --tls-ca, "
        "--tls-cert)?"
    )
