"""What is expected of the next job, after jobs that took what they took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.serving.service_time import ServiceTime


def after(*seconds: float) -> ServiceTime:
    service_time = ServiceTime()
    for each in seconds:
        service_time.add(each)
    return service_time


def test_nothing_is_expected_before_the_first_job() -> None:
    assert (ServiceTime().mean_s, ServiceTime().most_s()) == (0, 0)


def test_the_first_job_is_the_mean_and_twice_as_long_is_possible() -> None:
    assert (after(3).mean_s, after(3).most_s()) == (3, 6)


@given(st.floats(1e-4, 100), st.integers(1, 200))
def test_jobs_that_are_all_alike_are_expected_to_stay_so(seconds: float, count: int) -> None:
    service_time = after(*[seconds] * count)
    assert service_time.mean_s == pytest.approx(seconds)
    assert seconds <= service_time.most_s() * (1 + 1e-9)
    assert service_time.most_s() <= seconds * (1 + 0.75 ** (count - 1)) * (1 + 1e-9)


def test_jobs_that_vary_are_given_more_time() -> None:
    service_time = after(*[0.01, 0.03] * 50)
    assert service_time.mean_s == pytest.approx(0.02, rel=0.1)
    assert service_time.most_s() > 0.03


def test_one_job_that_was_kept_from_working_changes_little() -> None:
    assert after(*[0.02] * 50, 60).most_s() < 0.04


@pytest.mark.parametrize("seconds", [0.002, 0.5])
def test_jobs_that_take_another_time_from_now_on_are_believed_soon(seconds: float) -> None:
    assert after(*[0.02] * 50, *[seconds] * 40).mean_s == pytest.approx(seconds, rel=0.1)


@given(st.integers(1, 1000))
def test_many_jobs_together_vary_less_than_each_of_them(jobs: int) -> None:
    service_time = after(*[0.01, 0.03] * 50)
    beyond_s = service_time.most_s() - service_time.mean_s
    assert service_time.most_s(jobs) - jobs * service_time.mean_s == pytest.approx(jobs**0.5 * beyond_s)
