"""What each process of `up` is told: its own ports, its share of the processors, and where the others are."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any

from detector_grpc.configured import workers
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.supervision.ports import PortWish, free_ports
from detector_grpc.rpc.transport import TlsFiles, check_server_files
from detector_grpc.setting_sections.base import LOOPBACK
from detector_grpc.settings import address, reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector_grpc.settings import Settings


def check(settings: Settings) -> None:
    """Refuses what `up` would have to leave out.

    Raises:
        SetupInvalid: There is some of it; all of it is named.
    """
    own = "`up` starts servers of its own; `gateway render` and `gateway serve` are for others"
    encrypts = "`serve` encrypts with it, `up` with DETECTOR_GATEWAY_TLS_CERTIFICATE"
    faults = [
        f"{variable}: {why}"
        for value, variable, why in (
            (settings.gateway.servers, "DETECTOR_GATEWAY_SERVERS", own),
            (settings.gateway.servers_authority, "DETECTOR_GATEWAY_SERVERS_AUTHORITY", own),
            (settings.gateway.server_metrics, "DETECTOR_GATEWAY_SERVER_METRICS", own),
            (settings.tls.certificate, "DETECTOR_TLS_CERTIFICATE", encrypts),
            (
                starts_drift(settings) and settings.drift.target_authority,
                "DETECTOR_DRIFT_TARGET_AUTHORITY",
                "the `drift serve` of `up` does not encrypt; DETECTOR_DRIFT_TARGET names another one",
            ),
        )
        if value
    ]
    if faults:
        raise SetupInvalid(faults)
    check_gateway_certificate(settings)


def check_gateway_certificate(settings: Settings) -> None:
    """Refuses files with which Envoy could not encrypt.

    Raises:
        SetupInvalid: They are such.
    """
    if settings.gateway.tls_certificate is not None:
        check_server_files(TlsFiles(settings.gateway.tls_certificate, settings.gateway.tls_private_key))


def settings_of_gateway(settings: Settings) -> Settings:
    """The settings of a gateway whose servers are elsewhere, on ports that are free.

    Raises:
        SetupInvalid: Ports are not free; all of them are named.
    """
    wishes = dict(_gateway_ports(settings))
    return _changed(settings, gateway=dict(zip(wishes, free_ports([*wishes.values()]), strict=True)))


def settings_of_each(settings: Settings, *, has_gateway: bool) -> tuple[Settings, list[Settings]]:
    """The settings of the gateway and those of each server, on ports that are free.

    Raises:
        SetupInvalid: Ports are not free; all of them are named.
    """
    count = settings.workers
    drift = dict(_drift_ports(settings)) if starts_drift(settings) else {}
    gateway = dict(_gateway_ports(settings)) if has_gateway else {}
    ports = free_ports([*_server_ports(settings), *drift.values(), *gateway.values()])
    own = iter(ports[3 * count :])
    settings = _changed(
        settings, drift=dict(zip(drift, own, strict=False)), gateway=dict(zip(gateway, own, strict=False))
    )
    if drift:
        settings = _changed(settings, drift={"target": address(reachable(settings.drift.host), settings.drift.port)})
    threads = workers(settings, count)
    each = [
        _changed(
            settings,
            server=dict(zip(("port", "metrics_port", "admin_port"), ports[3 * number : 3 * number + 3], strict=True)),
            runtime={"workers": threads},
            gateway={"servers": (), "server_metrics": ()},  # so that its addresses are its own
        ).model_copy(update={"workers": 1})
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


def starts_drift(settings: Settings) -> bool:
    """Whether `up` starts a process that watches for drift: not if there is one, nothing is observed, or it cannot."""
    return not settings.drift.target and settings.drift.sample_rate > 0 and find_spec("scipy") is not None


def _drift_ports(settings: Settings) -> Iterator[tuple[str, PortWish]]:
    """Those of the process that watches for drift, by setting."""
    drift = settings.drift
    yield "port", PortWish("drift", drift.host, drift.port, "DETECTOR_DRIFT_PORT")
    yield "metrics_port", PortWish("drift", drift.host, drift.metrics_port, "DETECTOR_DRIFT_METRICS_PORT")


def _gateway_ports(settings: Settings) -> Iterator[tuple[str, PortWish]]:
    """Those of the processes before the servers, by setting."""
    gateway = settings.gateway
    yield "http_port", PortWish("pages", LOOPBACK, gateway.http_port, "DETECTOR_GATEWAY_HTTP_PORT")
    yield "port", PortWish("envoy", gateway.host, gateway.port, "DETECTOR_GATEWAY_PORT")
    yield "admin_port", PortWish("envoy", LOOPBACK, gateway.admin_port, "DETECTOR_GATEWAY_ADMIN_PORT")
    yield "metrics_port", PortWish("envoy", gateway.host, gateway.metrics_port, "DETECTOR_GATEWAY_METRICS_PORT")
    if gateway.tls_certificate is not None:
        yield "plain_port", PortWish("envoy", LOOPBACK, gateway.plain_port, "DETECTOR_GATEWAY_PLAIN_PORT")


def _changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """The settings, with some of some sections set."""
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    )
