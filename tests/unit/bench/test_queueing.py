"""The simulated queues of benchmarks/queueing.py are those of the books."""

from __future__ import annotations

import sys
from math import factorial, inf
from pathlib import Path

import numpy as np
import pytest

from detector_grpc.bench.arrivals import phases, poisson

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from queueing import Server, share_calls, watch

NONE = np.zeros(1)


def exponential(workers: int) -> Server:
    return Server(workers, np.random.default_rng(0).exponential(1, 200_000), NONE)


def fixed(workers: int, service_s: float = 1.0) -> Server:
    return Server(workers, np.full(1, service_s), NONE)


def waited_s(server: Server, rate_per_s: float, seconds: float) -> float:
    calls = share_calls(server, 1, poisson(rate_per_s, seconds, seed=1), np.random.default_rng(2), max_wait_s=inf)
    return float(calls.latency_s.mean()) - server.mean_service_s


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_worker_with_fixed_times_is_that_of_pollaczek_and_khinchine(load: float) -> None:
    assert waited_s(fixed(1), load, 50_000) == pytest.approx(load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_with_exponential_times_are_those_of_erlang(workers: int) -> None:
    load = 0.8
    offered = load * workers
    waits = offered**workers / factorial(workers) / (1 - load)
    waits /= waits + sum(offered**k / factorial(k) for k in range(workers))
    assert waited_s(exponential(workers), offered, 50_000) == pytest.approx(waits / (workers * (1 - load)), rel=0.08)


def test_two_choices_leave_as_many_servers_busy_as_mitzenmacher_says() -> None:
    """The supermarket model: the share of servers with k calls or more is load ** (2 ** k - 1)."""
    load, servers = 0.9, 100
    calls = share_calls(
        exponential(1),
        servers,
        poisson(load * servers, 600, seed=3),
        np.random.default_rng(4),
        max_wait_s=inf,
        from_s=100,
    )
    mean_s = sum(load ** (2**k - 2) for k in range(1, 12))
    assert calls.latency_s.mean() == pytest.approx(mean_s, rel=0.05)


def test_gateways_that_do_not_know_of_each_other_come_near_to_chance() -> None:
    load, servers = 0.8, 100
    arrivals = poisson(load * servers, 300, seed=5)
    one, many = (
        share_calls(
            exponential(1), servers, arrivals, np.random.default_rng(6), gateways=number, max_wait_s=inf, from_s=100
        )
        for number in (1, 1000)
    )
    by_chance_s = 1 / (1 - load)
    assert many.latency_s.mean() == pytest.approx(by_chance_s, rel=0.15)
    assert one.latency_s.mean() < 0.6 * by_chance_s


def test_under_overload_what_is_taken_on_comes_in_time_and_workers_are_busy() -> None:
    deadline_s = 5.0
    server = fixed(2)
    calls = share_calls(server, 3, poisson(18, 300, seed=7), np.random.default_rng(8), deadline_s=deadline_s, from_s=20)
    assert calls.latency_s.max() <= deadline_s
    assert len(calls.latency_s) == pytest.approx(3 * server.capacity_per_s * 280, rel=0.02)
    assert calls.refused_share == pytest.approx(2 / 3, rel=0.05)


def test_streams_that_there_is_room_for_are_all_looked_at() -> None:
    frames = watch(fixed(2, 0.05), phases(7, 5, seed=0), fps=5, seconds=60, rng=np.random.default_rng(9))
    assert frames.due == 7 * 5 * 60
    assert frames.looked_at == 1
    assert frames.age_s.min() == pytest.approx(0.05)


def test_of_streams_that_there_is_no_room_for_the_newest_frames_are_looked_at() -> None:
    server, streams = fixed(2, 0.05), 16
    frames = watch(server, phases(streams, 5, seed=0), fps=5, seconds=60, rng=np.random.default_rng(9))
    assert len(frames.age_s) == pytest.approx(server.capacity_per_s * 60, rel=0.02)
    assert frames.age_s.max() <= 1 / 5 + 0.05


def test_no_streams_are_no_frames() -> None:
    assert watch(fixed(1), np.empty(0), fps=5, seconds=10, rng=np.random.default_rng(0)).due == 0
