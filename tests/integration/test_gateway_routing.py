"""Envoy shares calls among versions as it is told, and hands pins, streams and errors on as they are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from support.calls import connected, encoded_request, failure, wait_until
from support.gateways import running_gateway
from support.pictures import png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client, Metadata
    from support.gateways import Gateway

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), servers=2) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    gateway.share(v1=80, v2=20)
    with connected(gateway.address) as client:
        yield client


def arms(client: Client, calls: int, metadata: Metadata = ()) -> Counter[str]:
    """How often each version answered."""
    return Counter(client.detect(REQUEST, metadata).version for _ in range(calls))


def test_calls_are_shared_by_weight(client: Client) -> None:
    calls, share = 2000, 0.2

    answered = arms(client, calls)

    standard_deviation = (calls * share * (1 - share)) ** 0.5
    assert abs(answered["v2"] - calls * share) <= 5 * standard_deviation
    assert answered.total() == calls


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_pin_in_the_metadata_always_holds(client: Client, version: str) -> None:
    assert arms(client, 100, (("x-model-version", version),)) == {version: 100}


def test_a_pin_to_a_version_that_nobody_holds_is_the_servers_error(client: Client) -> None:
    error = failure(lambda: client.detect(REQUEST, (("x-model-version", "v9"),)))

    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert 'version "v9"' in error.details()


def test_the_request_s_own_field_beats_arm_and_pin(client: Client) -> None:
    request = encoded_request(REQUEST.image.encoded, version="v2")

    assert {client.detect(request, (("x-model-version", "v1"),)).version for _ in range(20)} == {"v2"}


def test_an_arm_that_a_caller_names_is_not_heard(gateway: Gateway, client: Client) -> None:
    gateway.share(v1=100)

    assert arms(client, 100, (("x-detector-arm", "v2"),)) == {"v1": 100}


@pytest.mark.parametrize("key", ["x-user-id", "x-stream-id"])
def test_a_user_keeps_its_arm_and_users_are_shared_by_weight(client: Client, key: str) -> None:
    users = [f"user-{number}" for number in range(300)]

    first = {user: client.detect(REQUEST, ((key, user),)).version for user in users}
    later = {user: arms(client, 3, ((key, user),)) for user in users[:50]}

    assert later == {user: {first[user]: 3} for user in users[:50]}
    assert 0.1 < list(first.values()).count("v2") / len(users) < 0.3


def test_the_user_decides_before_the_stream(client: Client) -> None:
    arm_of = {name: client.detect(REQUEST, (("x-user-id", name),)).version for name in map(str, range(50))}
    a_v1, a_v2 = (next(name for name, arm in arm_of.items() if arm == version) for version in ("v1", "v2"))

    assert arms(client, 10, (("x-user-id", a_v1), ("x-stream-id", a_v2))) == {"v1": 10}
    assert arms(client, 10, (("x-stream-id", a_v1), ("x-user-id", a_v2))) == {"v2": 10}


def test_the_arm_is_in_a_header_of_the_answer(client: Client) -> None:
    for _ in range(20):
        call = client.start_detect(REQUEST)
        assert dict(call.initial_metadata())["x-detector-arm"] == call.result().version


def test_the_arm_is_never_another_version_than_the_one_that_answered(client: Client) -> None:
    request = encoded_request(REQUEST.image.encoded, version="v2")
    for _ in range(20):
        call = client.start_detect(request)
        assert (call.result().version, dict(call.initial_metadata())["x-detector-arm"]) == ("v2", "v2")


def test_orders_to_servers_are_not_routed(client: Client) -> None:
    for order in (lambda: client.load("v1"), lambda: client.unload("v1")):
        assert failure(order).code() is grpc.StatusCode.UNIMPLEMENTED


def calls_logged(gateway: Gateway, request_id: str, calls: int) -> Counter[tuple[str | None, str | None]]:
    """Arm and mark of the calls that have this id, as Envoy's log has them."""
    wait_until(lambda: len(gateway.envoy.log(request_id=request_id)) >= calls, f"lines of {calls} calls")
    return Counter((line["arm"], line["shadow"]) for line in gateway.envoy.log(request_id=request_id))


def test_the_marked_share_of_the_calls_that_go_elsewhere_is_as_told_whatever_the_weights(
    gateway: Gateway, client: Client
) -> None:
    gateway.share(v1=80, v2=20, shadow={"v2": 0.1})
    calls, share = 2000, 0.1

    answered = arms(client, calls, (("x-request-id", "marked"),))

    logged = calls_logged(gateway, "marked", calls)
    assert logged.keys() == {("v1", None), ("v1", "v2"), ("v2", None)}
    assert abs(answered["v2"] - calls * 0.2) <= 5 * (calls * 0.2 * 0.8) ** 0.5
    assert abs(logged["v1", "v2"] - answered["v1"] * share) <= 5 * (answered["v1"] * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_marked_share_does_not_depend_on_where_in_the_weights_a_version_stands(
    gateway: Gateway, client: Client, version: str
) -> None:
    gateway.share(v1=500_000, v2=500_000, shadow={version: 0.5})  # of one random number, modulo a million
    (other,) = {"v1", "v2"} - {version}
    calls = 1000

    answered = arms(client, calls, (("x-request-id", f"halves {version}"),))[other]

    logged = calls_logged(gateway, f"halves {version}", calls)
    assert abs(answered - calls * 0.5) <= 5 * (calls * 0.25) ** 0.5
    assert abs(logged[other, version] - answered * 0.5) <= 5 * (answered * 0.25) ** 0.5


def test_pinned_calls_are_not_marked_and_marks_of_callers_are_not_heard(gateway: Gateway, client: Client) -> None:
    gateway.share(v1=100, shadow={"v2": 1.0})
    arms(client, 20, (("x-model-version", "v1"), ("x-request-id", "pinned")))
    gateway.share(v1=100)
    arms(client, 20, (("x-detector-shadow", "v2"), ("x-request-id", "by the caller")))

    assert calls_logged(gateway, "pinned", 20) == {(None, None): 20}
    assert calls_logged(gateway, "by the caller", 20) == {("v1", None): 20}


def test_where_nothing_is_shared_the_servers_choose_and_arms_of_callers_are_not_heard(tmp_path: Path) -> None:
    with running_gateway(tmp_path, plan={"default_version": "v7"}) as gateway, connected(gateway.address) as client:
        assert gateway.state.traffic().weights == {}
        assert arms(client, 10, (("x-detector-arm", "v2"),)) == {"v1": 10}
