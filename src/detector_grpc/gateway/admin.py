"""What a running Envoy says about itself, and how it is told to leave."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.envoy import CLIENTS_LISTENER, METRICS_LISTENER, PLAIN_LISTENER

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 5.0


class Admin:
    """Envoy's own interface; every question is a request.

    Args:
        address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def is_ready(self) -> bool:
        """Whether it takes calls."""
        return self._get("/ready")[0] == http.HTTPStatus.OK

    def listener(self) -> str:
        """`host:port` at which it takes calls without encryption."""
        places = self._listeners()
        return places.get(PLAIN_LISTENER) or places[CLIENTS_LISTENER]

    def metrics_listener(self) -> str:
        """`host:port` at which it tells its metrics."""
        return self._listeners()[METRICS_LISTENER]

    def route_table(self) -> Mapping[str, Any]:
        """The route configuration that it has accepted last; empty before the first."""
        dump = json.loads(self._get("/config_dump?resource=dynamic_route_configs")[1])
        tables: list[Mapping[str, Any]] = [config["route_config"] for config in dump.get("configs", ())]
        return tables[0] if tables else {}

    def routes_accepted_at(self) -> float:
        """When it accepted a routes file last, in seconds since the epoch."""
        return self.stats(r"\.rds\..*\.update_time")["http.gateway.rds.gateway.update_time"] / 1000

    def connections(self) -> int:
        """How many connections of callers it has now."""
        return self.stats(r"^http\.gateway\.downstream_cx_active$")["http.gateway.downstream_cx_active"]

    def calls(self) -> int:
        """How many calls of them are under way, streams among them."""
        return self.stats(r"^http\.gateway\.downstream_rq_active$")["http.gateway.downstream_rq_active"]

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches a regular expression."""
        text = self._get(f"/stats?filter={quote(pattern)}&format=json")[1]
        return {each["name"]: each["value"] for each in json.loads(text)["stats"] if "name" in each}

    def fail_health_check(self) -> None:
        """Makes it say that it is not ready, and close each connection with its next answer."""
        ask(self._address, "POST", "/healthcheck/fail")

    def stop_listening(self) -> None:
        """Makes it take no more connections; those that it has go on."""
        ask(self._address, "POST", "/drain_listeners")

    def _listeners(self) -> dict[str, str]:
        """`host:port` of each, by name."""
        statuses = json.loads(self._get("/listeners?format=json")[1])["listener_statuses"]
        places = ((each["name"], each["local_address"]["socket_address"]) for each in statuses)
        return {name: f"{place['address']}:{place['port_value']}" for name, place in places}

    def _get(self, path: str) -> tuple[int, bytes]:
        return ask(self._address, "GET", path)


def ask(address: str, method: str, path: str) -> tuple[int, bytes]:
    """Status and body that Envoy answers at one of its addresses.

    Raises:
        SetupInvalid: It does not.
    """
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise SetupInvalid([f"Envoy does not answer at {address}: {error}"]) from error
    finally:
        connection.close()
