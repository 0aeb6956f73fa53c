"""Callers of REST learn what is the matter when servers are gone, slow or busy, and when they are slow themselves."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.calls import answered_and_refused, connected, encoded_request, wait_for, wait_until
from support.gateways import running_gateway, tiny_repository
from support.golden import as_golden, golden
from support.http import ask, post, told
from support.pictures import png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.gateways import Gateway
    from support.http import Answer

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
REQUEST = encoded_request(PICTURE)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, half_second: int) -> Iterator[Gateway]:
    """One worker and one place to wait, for calls that take about a second; no patience at all."""
    folder = tmp_path_factory.mktemp("slow")
    repository = tiny_repository(folder / "models", cost=2 * half_second)
    plan = {"request_timeout_s": 0.2, "receive_timeout_s": 0.5}
    limits = {"limits_max_queue": 1, "runtime_workers": 1}
    with running_gateway(folder, plan=plan, repository=repository, **limits) as gateway:
        yield gateway


def test_an_upload_that_stalls(slow: Gateway) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n\r\n"

    assert as_golden(told(slow, head + PICTURE)) == golden("upload_stalls")


@pytest.mark.parametrize("headers", [{"x": "a" * 100_000}, {f"x-{number}": "a" for number in range(200)}])
def test_headers_beyond_the_limits(slow: Gateway, headers: dict[str, str]) -> None:
    assert as_golden(ask(slow, "GET", "/models", headers=headers)) == golden("headers_too_large")


def test_a_call_that_takes_too_long(slow: Gateway) -> None:
    slow.servers[0].send(signal.SIGSTOP)  # else it might say so itself, in time
    try:
        answer = post(slow, "/predict", "image/png", PICTURE)
    finally:
        slow.servers[0].send(signal.SIGCONT)

    assert as_golden(answer) == golden("answer_takes_too_long")


def test_more_calls_than_may_wait(slow: Gateway) -> None:
    with connected(slow.address) as client:
        calls = [client.start_detect(REQUEST) for _ in range(4)]
        wait_until(lambda: any(call.done() for call in calls), "one of them to be refused")

        answer = post(slow, "/predict", "image/png", PICTURE)

        assert {call.code().name for call in calls} == {"OK", "RESOURCE_EXHAUSTED"}
    assert as_golden(answer) == golden("queue_full")
    assert int(answer.headers["retry-after"]) >= 1


def test_more_calls_than_are_done_in_the_longest_wait(tmp_path: Path, half_second: int) -> None:
    repository = tiny_repository(tmp_path / "models", cost=half_second)
    limits = {"limits_max_wait_s": 0, "runtime_workers": 1}
    with running_gateway(tmp_path, repository=repository, **limits) as gateway, connected(gateway.address) as client:
        client.detect(REQUEST, timeout_s=None)  # a server that knows nothing yet refuses nothing
        _, refused = answered_and_refused(client, REQUEST, timeout_s=None)

        def refused_beside_another() -> Answer | None:
            other = client.start_detect(REQUEST, timeout_s=None)
            answer = post(gateway, "/predict", "image/png", PICTURE)
            other.exception()
            return answer if answer.status != 200 else None

        answer = wait_for(refused_beside_another, "a call of REST that comes second")

        assert refused.code().name == "RESOURCE_EXHAUSTED"
        assert (answer.status, answer.detail("ErrorInfo")["reason"]) == (429, "WOULD_BE_LATE")


def test_no_server(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        gateway.servers[0].send(signal.SIGKILL)
        gateway.wait_until_healthy(0)

        assert as_golden(post(gateway, "/predict", "image/png", PICTURE)) == golden("no_server")
        assert as_golden(ask(gateway, "GET", "/models")) == golden("no_server")
