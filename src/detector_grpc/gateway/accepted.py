"""What Envoy has made of the routes file: what it accepted last, and how the file differs from that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.envoy import ROUTES_FILE
from detector_grpc.gateway.routes import routed
from detector_grpc.gateway.state import TRAFFIC_FILE

if TYPE_CHECKING:
    from detector_grpc.gateway.state import State
    from detector_grpc.gateway.traffic import Traffic

# Envoy is told of a new file by the kernel, and needs milliseconds.
PATIENCE_S = 10.0
_POLL_S = 0.02


class Accepted(NamedTuple):
    """What Envoy does now.

    Attributes:
        traffic: How it shares the calls.
        routes_fault: Why that is not what the routes file says, in one sentence; empty if it is.
        traffic_fault: The same of the traffic file, which counts when Envoy is started again.
    """

    traffic: Traffic
    routes_fault: str
    traffic_fault: str

    @property
    def faults(self) -> list[str]:
        """Why files say something else, a sentence each."""
        return [fault for fault in (self.routes_fault, self.traffic_fault) if fault]


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
    routes_fault = _routes_fault(state, traffic, admin.routes_accepted_at())
    return Accepted(traffic, routes_fault, _traffic_fault(state, traffic))


def wait_until_accepted(state: State) -> Accepted:
    """As `accepted`, once Envoy has had the time to take a file that was just written."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := accepted(state)).faults and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return now


def _routes_fault(state: State, traffic: Traffic, accepted_at: float) -> str:
    path = state.folder / ROUTES_FILE
    try:
        in_file = state.routed()
        changed_at = path.stat().st_ctime  # that of the content may be older: files are renamed into place
    except SetupInvalid as error:
        return f"{error.message}; Envoy goes on with {traffic}"
    if in_file != traffic:
        return f"{path} says {in_file}, Envoy has {traffic}; its log says why"
    if changed_at > accepted_at:
        return f"Envoy has not accepted {path} since it was changed; its log says why"
    return ""


def _traffic_fault(state: State, traffic: Traffic) -> str:
    try:
        in_file = state.traffic()
    except SetupInvalid as error:
        return f"{error.message}; Envoy goes on with {traffic}"
    if in_file != traffic:
        return f"{state.folder / TRAFFIC_FILE} says {in_file}, Envoy has {traffic}, until it is started again"
    return ""
