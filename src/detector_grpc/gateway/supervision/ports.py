"""Whether the ports are free that processes are about to take."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PORT = 65535


@dataclass(frozen=True)
class PortWish:
    """A port that a process will take.

    Attributes:
        who: Which process, and what for.
        host: Address to listen on.
        port: The port; 0 for any that is free.
        setting: What an operator changes to get another one.
    """

    who: str
    host: str
    port: int
    setting: str


def listen(host: str, port: int) -> socket.socket:
    """Takes a port; 0 for any that is free.

    Raises:
        OSError: It is not free, or there is no such address here.
    """
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def why_not(error: OSError) -> str:
    """Why a port could not be taken, in a few words; the text of most such errors repeats the address."""
    return error.strerror or "" if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)


def free_ports(wishes: Sequence[PortWish]) -> list[int]:
    """The ports, in the order of the wishes; all of them are free at this moment.

    Raises:
        SetupInvalid: Some are not; all of those are named.
    """
    ports: list[int] = []
    faults: list[str] = []
    holders: dict[tuple[str, int], PortWish] = {}
    with ExitStack() as taken:  # all of them at once, or the system could choose one twice
        for wish in wishes:
            place = f"{wish.host}:{wish.port}"
            if (holder := holders.get((wish.host, wish.port))) is not None:
                faults.append(f"{holder.who} ({holder.setting}) and {wish.who} ({wish.setting}) both want {place}")
                continue
            if wish.port > MAX_PORT:
                faults.append(f"{wish.who} would listen on {place} ({wish.setting}); the highest port is {MAX_PORT}")
                continue
            try:
                port = taken.enter_context(listen(wish.host, wish.port)).getsockname()[1]
            except OSError as error:
                faults.append(f"{wish.who} cannot listen on {place} ({wish.setting}): {why_not(error)}")
            else:
                ports.append(port)
                holders[wish.host, port] = wish
    if faults:
        raise SetupInvalid(faults)
    return ports
