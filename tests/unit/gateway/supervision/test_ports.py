"""Ports that processes are about to take are free, or each that is not is named with its setting."""

from __future__ import annotations

import socket

import pytest

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.supervision.ports import PortWish, free_ports, listen

HOST = "127.0.0.1"


def test_free_ports_are_those_that_were_wished_for_or_that_the_system_chose() -> None:
    with listen(HOST, 0) as probe:
        free = probe.getsockname()[1]
    wishes = [PortWish(f"server-{number}", HOST, 0, "DETECTOR_SERVER_PORT") for number in range(20)]
    ports = free_ports([*wishes, PortWish("envoy", HOST, free, "DETECTOR_GATEWAY_PORT")])
    assert ports[-1] == free
    assert len(set(ports)) == 21
    for port in ports:
        listen(HOST, port).close()


def test_all_that_cannot_be_taken_are_named_at_once_each_with_its_setting() -> None:
    with listen(HOST, 0) as first, listen(HOST, 0) as second:
        taken = [each.getsockname()[1] for each in (first, second)]
        with pytest.raises(SetupInvalid) as caught:
            free_ports(
                [
                    PortWish("server-0", HOST, taken[0], "DETECTOR_SERVER_PORT"),
                    PortWish("server-1", HOST, 0, "DETECTOR_SERVER_PORT"),
                    PortWish("envoy", HOST, taken[1], "DETECTOR_GATEWAY_PORT"),
                    PortWish("gateway", "192.0.2.1", 0, "DETECTOR_GATEWAY_HTTP_PORT"),
                    PortWish("drift", HOST, 65536, "DETECTOR_DRIFT_PORT"),
                ]
            )
    assert caught.value.faults == (
        f"server-0 cannot listen on {HOST}:{taken[0]} (DETECTOR_SERVER_PORT): Address already in use",
        f"envoy cannot listen on {HOST}:{taken[1]} (DETECTOR_GATEWAY_PORT): Address already in use",
        "gateway cannot listen on 192.0.2.1:0 (DETECTOR_GATEWAY_HTTP_PORT): Cannot assign requested address",
        f"drift would listen on {HOST}:65536 (DETECTOR_DRIFT_PORT); the highest port is 65535",
    )


def test_two_that_want_the_same_port_are_both_named() -> None:
    with listen(HOST, 0) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(SetupInvalid) as caught:
        free_ports(
            [
                PortWish("server-0", HOST, port, "DETECTOR_SERVER_PORT"),
                PortWish("envoy", HOST, port, "DETECTOR_GATEWAY_PORT"),
            ]
        )
    assert caught.value.faults == (
        f"server-0 (DETECTOR_SERVER_PORT) and envoy (DETECTOR_GATEWAY_PORT) both want {HOST}:{port}",
    )


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_addresses_may_be_those_of_ipv6() -> None:
    (port,) = free_ports([PortWish("server-0", "::1", 0, "DETECTOR_SERVER_PORT")])
    with listen("::1", port), pytest.raises(SetupInvalid, match="Address already in use"):
        free_ports([PortWish("server-0", "::1", port, "DETECTOR_SERVER_PORT")])
