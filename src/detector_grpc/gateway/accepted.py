"""What Envoy has made of the routes file: what it accepted last, and how the file differs from that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.envoy import ROUTES_FILE
from detector_grpc.gateway.routes import routed

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.gateway.state import State
    from detector_grpc.gateway.traffic import Traffic

# Envoy is told of a new file by the kernel, and needs milliseconds.
PATIENCE_S = 10.0
_POLL_S = 0.02


class Accepted(NamedTuple):
    """What Envoy does now.

    Attributes:
        traffic: How it shares the calls.
        fault: Why that is not what the routes file says, in one sentence; empty if it is.
    """

    traffic: Traffic
    fault: str


def accepted(state: State) -> Accepted:
    """Asks Envoy, and compares.

    Raises:
        SetupInvalid: No Envoy runs there, or none with routes of ours.
    """
    admin = Admin(state.admin_address())
    try:
        traffic = routed(admin.route_table())
    except (KeyError, TypeError) as error:
        raise SetupInvalid(["Envoy has accepted no routes yet; its log says why"]) from error
    return Accepted(traffic, _fault(state.folder / ROUTES_FILE, traffic, admin.routes_accepted_at()))


def wait_until_accepted(state: State) -> Accepted:
    """As `accepted`, once Envoy has had the time to take a file that was just written."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := accepted(state)).fault and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return now


def _fault(path: Path, traffic: Traffic, accepted_at: float) -> str:
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        in_file = routed(content["resources"][0])
        changed_at = path.stat().st_ctime  # that of the content may be older: files are renamed into place
    except (OSError, ValueError, yaml.YAMLError) as error:
        return f"{path} cannot be read, and Envoy goes on as before: {' '.join(str(error).split())}"
    except (AttributeError, IndexError, KeyError, TypeError):
        return f"{path} is no route table of ours; Envoy may go on as before"
    if in_file != traffic:
        return f"{path} says {in_file}, Envoy has {traffic}; its log says why"
    if changed_at > accepted_at:
        return f"Envoy has not accepted {path} since it was changed; its log says why"
    return ""
