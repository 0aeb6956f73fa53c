"""What somebody writes about traffic is understood, or refused with all that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.traffic import Traffic, initial, parse_shadow, parse_weights, read_traffic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSIONS = ("v1", "v2")


def faults(call: Callable[[], Any]) -> str:
    with pytest.raises(SetupInvalid) as caught:
        call()
    return "; ".join(caught.value.faults)


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        (["v1=80", "v2=20"], {"v1": 80, "v2": 20}),
        (["v2=1"], {"v2": 1}),
        (["v1=0", "v2=100"], {"v2": 100}),
        (["v1=1000000"], {"v1": 1_000_000}),
    ],
)
def test_weights_are_whole_numbers_by_version(words: list[str], weights: dict[str, int]) -> None:
    assert parse_weights(words, VERSIONS) == weights


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["v1=0", "v2=0"], ["sum of all weights must be from 1 to 1000000, got v1=0, v2=0"]),
        (["v1=1", "v2=1000000"], ["sum of all weights must be from 1 to 1000000, got v1=1, v2=1000000"]),
        ([], ["sum of all weights must be from 1 to 1000000"]),
        (["v1=-1"], ['weight of v1 must be a whole number from 0 to 1000000, got "-1"']),
        (["v1=many"], ['got "many"']),
        (["v1=1.5"], ['got "1.5"']),
        (["v1=1000001"], ['got "1000001"']),
        (["v1=٣"], ['got "٣"']),
        (["v1="], ['got ""']),
        (["v3=1"], ['knows no version "v3"; it knows v1, v2']),
        (["v1"], ['"v1" is not of the form version=value']),
        (["v1=1", "v1=2"], ["v1 is named twice"]),
        (["v1=x", "v3=1", "v2"], ['got "x"', '"v3"', '"v2" is not']),
    ],
)
def test_weights_that_are_none_are_refused_with_all_that_is_wrong(words: list[str], named: list[str]) -> None:
    told = faults(lambda: parse_weights(words, VERSIONS))
    for fault in named:
        assert fault in told


@pytest.mark.parametrize(
    ("words", "shadow"),
    [
        (["v2=100%"], {"v2": 1.0}),
        (["v2=0.5%"], {"v2": 0.005}),
        (["v2=0.0001%"], {"v2": 1e-6}),
        (["v2=0%"], {}),
        ([], {}),
    ],
)
def test_a_shadow_is_a_percentage(words: list[str], shadow: dict[str, float]) -> None:
    assert parse_shadow(words, VERSIONS) == pytest.approx(shadow)


@pytest.mark.parametrize(
    "word", ["v2=0.00001%", "v2=101%", "v2=-1%", "v2=nan%", "v2=1", "v2=%", "v2=x%", "v3=1%", "v2"]
)
def test_a_shadow_that_is_none_is_refused(word: str) -> None:
    assert faults(lambda: parse_shadow([word], VERSIONS))


def test_only_one_version_gets_copies() -> None:
    assert "only one version can get copies, got v1, v2" in faults(lambda: parse_shadow(["v1=1%", "v2=1%"], VERSIONS))


@pytest.mark.parametrize("traffic", [Traffic({"v1": 80, "v2": 20}), Traffic({"v2": 1}, {"v1": 0.123}), Traffic({})])
def test_what_is_written_is_what_is_read(tmp_path: Path, traffic: Traffic) -> None:
    (tmp_path / "traffic.yaml").write_text(traffic.to_yaml(), encoding="utf-8")
    assert read_traffic(tmp_path / "traffic.yaml", VERSIONS) == traffic


def test_no_file_is_no_traffic(tmp_path: Path) -> None:
    assert read_traffic(tmp_path / "traffic.yaml", VERSIONS) is None


@pytest.mark.parametrize(
    "text", ["", "weights: [", "weights: 3\nshadow: {}", "weights: {v1: 1}", "[]", "weights: {v1: x}\nshadow: {}", "\0"]
)
def test_a_file_that_says_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "traffic.yaml").write_text(text, encoding="utf-8")
    assert "traffic.yaml" in faults(lambda: read_traffic(tmp_path / "traffic.yaml", VERSIONS))


def test_everything_goes_to_the_default_version_until_somebody_says_otherwise() -> None:
    assert initial(VERSIONS, "v1") == Traffic({"v1": 100})
    assert initial(VERSIONS, "v7") == Traffic({})
