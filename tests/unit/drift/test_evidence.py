from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.drift.evidence import DRIFTED_AT, MOST, DriftState, Evidence
from detector_grpc.drift.expectation import Deviation

STABLE, WARNING, DRIFTED = DriftState.STABLE, DriftState.WARNING, DriftState.DRIFTED

ratios = st.lists(st.floats(0, 100), max_size=60)


def fed(ratios: list[float], most: DriftState = DRIFTED) -> list[DriftState]:
    evidence = Evidence()
    return [evidence.add({"noise": Deviation(ratio, 1)}, most) for ratio in ratios]


def test_no_single_block_is_enough() -> None:
    assert fed([math.inf]) == [WARNING]
    assert fed([math.inf, 5]) == [WARNING, DRIFTED]


def test_what_is_allowed_never_adds_up() -> None:
    assert set(fed([1.0] * 10_000)) == {STABLE}


def test_little_too_much_adds_up_in_time() -> None:
    states = fed([1.1] * 20)

    assert (states.index(WARNING), states.index(DRIFTED)) == (4, 9)


def test_what_is_drifted_stays_so_until_it_is_calm() -> None:
    assert fed([9, 9, 0.75, 0.75, 0.75, 0.75]) == [WARNING, *[DRIFTED] * 5]
    assert fed([9, 9, 0, 0]) == [WARNING, DRIFTED, DRIFTED, STABLE]


def test_a_long_drift_is_forgotten_as_soon_as_a_short_one() -> None:
    assert fed([9] * 1000 + [0] * 3)[-1] is STABLE


def test_what_cannot_be_concluded_is_warned_of_and_what_has_been_stays() -> None:
    assert fed([9, 9, 9], WARNING) == [WARNING] * 3
    evidence = Evidence()
    for _ in range(2):
        evidence.add({"noise": Deviation(9, 1)})
    assert evidence.add({"noise": Deviation(9, 1)}, WARNING) is DRIFTED


def test_what_was_warned_of_all_night_is_no_alarm_in_the_morning() -> None:
    evidence = Evidence()
    for _ in range(1000):
        evidence.add({"noise": Deviation(9, 1)}, WARNING)

    assert evidence.add({"noise": Deviation(1.4, 1)}) is WARNING
    assert evidence.add({"noise": Deviation(9, 1)}) is DRIFTED


def test_a_feature_that_is_silent_keeps_its_evidence() -> None:
    evidence = Evidence()
    evidence.add({"confidence": Deviation(9, 1)})
    evidence.add({"noise": Deviation(0, 1)})

    assert evidence.sums == {"confidence": 0.75}
    assert evidence.state is WARNING


@given(ratios)
def test_the_state_follows_from_the_highest_evidence(ratios: list[float]) -> None:
    evidence = Evidence()
    for ratio in ratios:
        before = evidence.state
        state = evidence.add({"noise": Deviation(ratio, 1), "size": Deviation(ratio / 2, 1)})
        highest = max(evidence.sums.values(), default=0)
        assert 0 <= highest <= MOST
        assert (state is DRIFTED) >= (highest >= DRIFTED_AT)
        assert not (before is STABLE and state is DRIFTED and highest < DRIFTED_AT)


@given(ratios, ratios)
def test_more_deviation_is_never_less_evidence(one: list[float], other: list[float]) -> None:
    length = min(len(one), len(other))
    low = [min(pair) for pair in zip(one[:length], other[:length], strict=True)]
    high = [max(pair) for pair in zip(one[:length], other[:length], strict=True)]
    sums = []
    for series in (low, high):
        evidence = Evidence()
        for ratio in series:
            evidence.add({"noise": Deviation(ratio, 1)})
        sums.append(evidence.sums.get("noise", 0))

    assert sums[0] <= sums[1] + 1e-9
