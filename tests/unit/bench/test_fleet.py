"""The simulated gateways of benchmarks/fleet.py place streams, and move those that have to move."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from fleet import Fleet


def fleet(*, servers: int = 20, gateways: int = 4, streams: int = 2000, max_age_s: float = np.inf) -> Fleet:
    return Fleet(servers, gateways, streams, np.random.default_rng(0), max_age_s)


def test_one_gateway_is_even_and_many_are_not() -> None:
    one, many = (np.ptp(fleet(gateways=gateways).streams()) for gateways in (1, 2000))
    assert one <= 6
    assert many > 20


def test_streams_stay_until_their_server_goes() -> None:
    cluster = fleet()
    before = cluster.server_of.copy()
    cluster.grow_old(3600)
    new = cluster.add(5)
    np.testing.assert_array_equal(cluster.server_of, before)
    assert cluster.streams()[-5:].sum() == 0
    cluster.remove([3, 4])
    stayed = ~np.isin(before, (3, 4))
    np.testing.assert_array_equal(cluster.server_of[stayed], before[stayed])
    assert not np.isin(cluster.server_of, (3, 4)).any()
    assert np.isin(cluster.server_of[~stayed], new).any()
    assert cluster.streams().sum() == 2000
    assert len(cluster.streams()) == 23


def test_whatever_moved_the_gateways_know_what_each_server_has() -> None:
    cluster = fleet(max_age_s=100)
    cluster.grow_old(30)
    cluster.add(3)
    cluster.remove(range(5))
    cluster.grow_old(100)
    held = np.sum(cluster._held, axis=0)
    np.testing.assert_array_equal(held, np.bincount(cluster.server_of, minlength=23))


def test_all_streams_have_moved_within_the_largest_age_and_new_servers_have_their_share() -> None:
    cluster = fleet(max_age_s=100)
    cluster.add(20)
    cluster.grow_old(50)
    half = cluster.streams()[20:].sum()
    cluster.grow_old(50)
    assert 600 < half < 1000
    assert 900 < cluster.streams()[20:].sum() < 1300  # more than half: all that left in the end left old servers


def test_a_stream_that_has_moved_is_young() -> None:
    cluster = fleet(max_age_s=100)
    cluster.grow_old(100)
    moved = cluster.server_of.copy()
    cluster.grow_old(99)
    np.testing.assert_array_equal(cluster.server_of, moved)
