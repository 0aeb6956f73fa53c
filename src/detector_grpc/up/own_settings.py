"""What each process of `up` is told: its own ports, its share of the processors, and where the others are."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from detector_grpc.gateway.supervision.ports import PortWish, free_ports
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from detector_grpc.settings import Settings


def settings_of_each(settings: Settings, resume_key: Path, *, has_gateway: bool) -> tuple[Settings, list[Settings]]:
    """The settings of the gateway and those of each server, on ports that are free.

    Raises:
        SetupInvalid: Ports are not free; all of them are named.
    """
    count = settings.workers
    ports = free_ports([*_server_ports(settings), *(_gateway_ports(settings) if has_gateway else ())])
    if has_gateway:
        own = dict(zip(("http_port", "port", "admin_port"), ports[3 * count :], strict=True))
        settings = _changed(settings, gateway=own)
    threads = settings.runtime.workers or max(1, cpu_limit() // count)
    each = [
        _changed(
            settings,
            server=dict(zip(("port", "metrics_port", "admin_port"), ports[3 * number : 3 * number + 3], strict=True)),
            runtime={"workers": threads},
            streams={"resume_key_file": resume_key},
            gateway={"servers": (), "server_metrics": ()},  # so that its addresses are its own
        )
        for number in range(count)
    ]
    servers = tuple(chain.from_iterable(server.server_addresses for server in each))
    metrics = tuple(chain.from_iterable(server.metrics_addresses for server in each))
    return _changed(settings, gateway={"servers": servers, "server_metrics": metrics}), each


def _server_ports(settings: Settings) -> Iterator[PortWish]:
    """Those of each server, one above those of the one before."""
    server = settings.server
    for number in range(settings.workers):
        for host, port, setting in (
            (server.host, server.port, "DETECTOR_SERVER_PORT"),
            (server.host, server.metrics_port, "DETECTOR_SERVER_METRICS_PORT"),
            (server.admin_host, server.admin_port, "DETECTOR_SERVER_ADMIN_PORT"),
        ):
            shifted = f"{setting} + {number}" if port and number else setting
            yield PortWish(f"server-{number}", host, port and port + number, shifted)


def _gateway_ports(settings: Settings) -> Iterator[PortWish]:
    gateway = settings.gateway
    yield PortWish("pages", LOOPBACK, gateway.http_port, "DETECTOR_GATEWAY_HTTP_PORT")
    yield PortWish("envoy", gateway.host, gateway.port, "DETECTOR_GATEWAY_PORT")
    yield PortWish("envoy", LOOPBACK, gateway.admin_port, "DETECTOR_GATEWAY_ADMIN_PORT")


def _changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """The settings, with some of some sections set."""
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    )
