"""More than the server can do at once: it does what it took on, refuses the rest, and stays within its memory."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from support.calls import (
    DETECT,
    SERVING,
    answered_and_refused,
    connected,
    encoded_request,
    failure,
    raw_request,
    wait_until,
)
from support.metrics import read_metrics, settled_metrics
from support.onnx_files import tiny_onnx
from support.pictures import png
from support.rich_errors import info_of, leak_in, reason_of, retry_after_s
from support.servers import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client
    from support.servers import ServerProcess

MIB = 1024 * 1024
REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))
EXHAUSTED, EXPIRED = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED
MODEL = {"model": "tiny", "version": "v1"}

# More pixels than this are refused, so that the memory they may take counts little beside that of messages.
MAX_PIXELS = 4_000_000


class TestQueue:
    """One worker and a model that takes half a second, so that it is known who runs and who waits."""

    def test_goes_on_for_the_others_when_one_of_them_leaves(self, slow: tuple[ServerProcess, Client]) -> None:
        server, client = slow
        runs = model_runs(server, client)
        calls = [client.start_detect(REQUEST) for _ in range(5)]
        wait_for_depth(server, 4)

        calls[2].cancel()
        others = [call for call in calls if call is not calls[2]]
        answers = [call.result() for call in others]

        assert [len(answer.detections) for answer in answers] == [1, 1, 1, 1]
        assert model_runs(server, client) - runs == 4
        assert read_metrics(server).value("object_detection_shed_total", reason="cancelled") >= 1

    def test_refuses_at_once_what_would_be_late(self, slow: tuple[ServerProcess, Client]) -> None:
        server, client = slow
        client.detect(REQUEST)  # one is known to have taken its time
        runs, shed = model_runs(server, client), shed_total(server, "would_be_late")
        timed = read_metrics(server).value("object_detection_refusal_duration_seconds_count")
        taken = [client.start_detect(REQUEST) for _ in range(2)]
        wait_for_depth(server, 1)

        errors = [failure(client.start_detect(REQUEST, timeout_s=0.4).result) for _ in range(3)]
        answers = [call.result() for call in taken]

        assert [(error.code(), reason_of(error)) for error in errors] == [(EXHAUSTED, "WOULD_BE_LATE")] * 3
        assert re.fullmatch(
            r"a worker is free in about \d+ ms, and the request can wait \d+ ms", errors[0].details() or ""
        )
        assert info_of(errors[0]).metadata.keys() == {"waitMs", "maxWaitMs"}
        assert retry_after_s(errors[0]) > 0.1
        assert not leak_in(errors[0])
        assert len(answers) == 2
        assert model_runs(server, client) - runs == 2
        assert shed_total(server, "would_be_late") - shed == 3
        assert read_metrics(server).value("object_detection_refusal_duration_seconds_count") - timed == 3

    def test_that_is_full_refuses_and_says_when_to_come_back(self, slow: tuple[ServerProcess, Client]) -> None:
        server, client = slow
        client.detect(REQUEST)  # one is known to have taken its time
        runs, shed = model_runs(server, client), shed_total(server, "queue_full")
        taken = [client.start_detect(REQUEST) for _ in range(5)]
        wait_for_depth(server, 4)

        error = failure(lambda: client.detect(REQUEST))
        refused_first = not taken[-1].done()
        answers = [call.result() for call in taken]

        assert (error.code(), reason_of(error)) == (EXHAUSTED, "QUEUE_FULL")
        assert "4 requests wait already" in error.details()
        assert info_of(error).metadata["maxQueue"] == "4"
        assert retry_after_s(error) > 0.02
        assert not leak_in(error)
        assert refused_first
        assert len(answers) == 5
        assert model_runs(server, client) - runs == 5
        assert shed_total(server, "queue_full") - shed == 1

    def test_is_left_by_a_cancelled_call_at_once(self, slow: tuple[ServerProcess, Client]) -> None:
        server, client = slow
        calls = [client.start_detect(REQUEST) for _ in range(5)]
        wait_for_depth(server, 4)

        calls[4].cancel()
        wait_for_depth(server, 3)
        instead = client.start_detect(REQUEST)

        assert [len(call.result().detections) for call in [*calls[:4], instead]] == [1] * 5

    def test_answers_those_without_a_deadline_in_the_order_of_asking(self, slow: tuple[ServerProcess, Client]) -> None:
        server, client = slow
        order: list[int] = []
        calls = []
        for number in range(4):
            call = client.start_detect(REQUEST, timeout_s=None)
            call.add_done_callback(lambda _, number=number: order.append(number))
            calls.append(call)
            if number:
                wait_for_depth(server, number)

        for call in calls:
            call.result()
        wait_until(lambda: len(order) == 4, "all answers")

        assert order == [0, 1, 2, 3]


class TestDeadlines:
    def test_that_pass_in_the_queue_are_not_worked_for(self, tmp_path: Path, half_second: int) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
        with loaded(tmp_path, runtime_workers=1) as (server, client):
            running = client.start_detect(REQUEST)  # nothing is known yet of how long a picture takes
            waiting = client.start_detect(REQUEST)
            wait_for_depth(server, 1)
            late = [client.start_detect(REQUEST, timeout_s=0.2) for _ in range(3)]

            codes = [failure(call.result).code() for call in late]
            answered = [running.result(), waiting.result()]

            assert codes == [EXPIRED] * 3
            assert [len(answer.detections) for answer in answered] == [1, 1]
            assert model_runs(server, client) == 2
            # On a machine that stalls they may end before the server hears of them.
            assert given_up_total(server) == logged_calls(server) - len(answered)

    @pytest.mark.parametrize("timeout_s", [None, 60])
    def test_that_are_not_given_or_late_leave_the_longest_wait(
        self, tmp_path: Path, half_second: int, timeout_s: float | None
    ) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
        with loaded(tmp_path, runtime_workers=1, limits_max_wait_s=0) as (_, client):
            client.detect(REQUEST)

            answer, error = answered_and_refused(client, REQUEST, timeout_s)

            assert (error.code(), reason_of(error)) == (EXHAUSTED, "WOULD_BE_LATE")
            assert info_of(error).metadata["maxWaitMs"] == "0"
            assert len(answer.detections) == 1


class TestManyCalls:
    def test_beyond_the_limit_are_refused_and_counted(self, tmp_path: Path, half_second: int) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
        settings = {"runtime_workers": 1, "limits_max_requests": 3, "limits_max_queue": 100}
        with loaded(tmp_path, **settings) as (server, client):
            taken = [client.start_detect(REQUEST) for _ in range(3)]
            wait_for_depth(server, 2)

            error = failure(lambda: client.detect(REQUEST))
            answers = [call.result() for call in taken]
            again = client.detect(REQUEST)

            assert (error.code(), reason_of(error)) == (EXHAUSTED, "TOO_MANY_REQUESTS")
            assert "3 calls" in error.details()
            assert retry_after_s(error) > 0
            assert [len(answer.detections) for answer in [*answers, again]] == [1] * 4
            assert shed_total(server, "too_many_requests") == 1

    def test_that_ask_for_nothing_but_models_are_not_counted(self, tmp_path: Path, half_second: int) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
        with loaded(tmp_path, runtime_workers=1, limits_max_requests=1) as (_, client):
            busy = client.start_detect(REQUEST)

            assert client.status() == SERVING
            assert not busy.done()
            busy.result()

    def test_of_ten_megabytes_each_stay_within_the_memory_that_the_settings_promise(
        self, tmp_path: Path, half_second: int
    ) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second // 5)
        in_flight_bytes, max_requests, callers = 64 * MIB, 48, 200
        settings = {
            "limits_max_bytes_in_flight": in_flight_bytes,
            "limits_max_requests": max_requests,
            "limits_max_queue": max_requests,
            "limits_max_pixels": MAX_PIXELS,
            "runtime_workers": 2,
        }
        data = raw_request(np.zeros((1850, 1850, 3), np.uint8)).SerializeToString()
        assert len(data) > 10_000_000
        with loaded(tmp_path, **settings) as (server, client):
            client.send_bytes(data)
            idle = server.memory_bytes()
            bound = idle + 3 * in_flight_bytes + 2 * 12 * MAX_PIXELS

            codes, reasons = call_at_once(server, data, callers)

            assert server.peak_memory_bytes() < bound
            assert codes.keys() == {grpc.StatusCode.OK, EXHAUSTED}
            assert codes[grpc.StatusCode.OK] >= max_requests
            assert codes.total() == callers
            assert reasons.keys() == {"TOO_MANY_REQUESTS"}
            assert shed_total(server, "too_many_requests") == codes[EXHAUSTED]
            assert client.send_bytes(data)
            assert client.detect(REQUEST).detections

    def test_that_all_leave_give_back_what_they_held(self, tmp_path: Path, half_second: int) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
        data = raw_request(np.zeros((1024, 1024, 3), np.uint8)).SerializeToString()
        settings = {"runtime_workers": 1, "limits_max_message_bytes": 3 * MIB + 1024, "limits_max_requests": 12}
        with loaded(tmp_path, limits_max_bytes_in_flight=12 * MIB, **settings) as (server, client):
            for _ in range(2):
                calls = [client.start_bytes(data) for _ in range(12)]
                wait_until(lambda: read_metrics(server).value("object_detection_queue_depth") >= 1, "a queue")
                for call in calls:
                    call.cancel()
                wait_for_depth(server, 0)

            # Nothing of budget and places is lost: as many as may come at once are all answered.
            wait_until(lambda: logged_calls(server) >= 24, "the end of all calls")
            calls = [client.start_bytes(data) for _ in range(3)]
            assert all(call.result() for call in calls)


class TestSlowSender:
    def test_is_given_up_on_and_told_so(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with loaded(tmp_path, limits_receive_timeout_s=0.3) as (_, client), never_sending(client) as call:
            error = failure(call.result)

            assert (error.code(), reason_of(error)) == (EXPIRED, "RECEIVE_TIMEOUT")
            assert "0.3 s" in error.details()
            assert info_of(error).metadata["timeoutMs"] == "300"

    def test_holds_up_others_for_no_longer_than_that(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        # Room for one message of which nobody knows the size yet: 2 MiB and the margin of 1 MiB.
        room = {"limits_max_message_bytes": 2 * MIB, "limits_max_bytes_in_flight": 4 * MIB}
        with loaded(tmp_path, limits_receive_timeout_s=0.5, **room) as (_, client), never_sending(client) as call:
            assert client.detect(REQUEST, timeout_s=20).detections
            assert reason_of(failure(call.result)) == "RECEIVE_TIMEOUT"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, half_second: int) -> Iterator[tuple[ServerProcess, Client]]:
    repository = tmp_path_factory.mktemp("repository")
    tiny_onnx(repository / "tiny" / "v1" / "model.onnx", cost=half_second)
    with loaded(repository, runtime_workers=1, limits_max_queue=4) as both:
        yield both


@contextmanager
def loaded(repository: Path, **settings: object) -> Iterator[tuple[ServerProcess, Client]]:
    """A server whose versions are loaded, and a client."""
    with server_process(repository=repository, **settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        yield server, client


@contextmanager
def never_sending(client: Client) -> Iterator[grpc.Future]:
    """A call whose message does not come, as of a caller whose network is gone."""

    def messages() -> Iterator[bytes]:
        wait_until(call_has_ended.__len__, "the end of the call")
        yield from ()

    call_has_ended: list[bool] = []
    call = client.channel.stream_unary(DETECT).future(messages(), timeout=30)
    call.add_done_callback(lambda _: call_has_ended.append(True))
    try:
        yield call
    finally:
        call.cancel()


def call_at_once(server: ServerProcess, data: bytes, callers: int) -> tuple[Counter[grpc.StatusCode], Counter[str]]:
    """Codes, and reasons of those that failed, of calls that begin together on eight connections."""
    codes: Counter[grpc.StatusCode] = Counter()
    reasons: Counter[str] = Counter()
    with (
        connected(server.address) as a,
        connected(server.address) as b,
        connected(server.address) as c,
        connected(server.address) as d,
    ):
        calls = [(a, b, c, d)[number % 4].start_bytes(data) for number in range(callers)]
        for call in calls:
            codes[call.code()] += 1
            if call.code() is not grpc.StatusCode.OK:
                reasons[reason_of(call)] += 1
    return codes, reasons


def model_runs(server: ServerProcess, client: Client) -> float:
    return settled_metrics(server, client).value("object_detection_inference_duration_seconds_count", **MODEL)


def shed_total(server: ServerProcess, reason: str) -> float:
    return read_metrics(server).value("object_detection_shed_total", reason=reason)


def given_up_total(server: ServerProcess) -> float:
    """Callers tell of their deadline, too, and their word may come before the server's own clock says so."""
    return shed_total(server, "expired") + shed_total(server, "cancelled")


def logged_calls(server: ServerProcess) -> int:
    return len(server.log("call", method=DETECT))


def wait_for_depth(server: ServerProcess, depth: int) -> None:
    wait_until(lambda: read_metrics(server).value("object_detection_queue_depth") == depth, f"{depth} in the queue")
