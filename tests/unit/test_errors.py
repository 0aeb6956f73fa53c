"""The tree of expected errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from detector_grpc import errors
from detector_grpc.errors import DetectorError, InvalidRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSTRACT = {errors.ImageError, errors.RetryLater, errors.Overloaded}


def tree(base: type[DetectorError]) -> Iterator[type[DetectorError]]:
    for child in base.__subclasses__():
        yield child
        yield from tree(child)


CONCRETE = [each for each in tree(DetectorError) if each not in ABSTRACT and each.__module__ == errors.__name__]


@pytest.mark.parametrize("error", CONCRETE)
def test_every_error_has_a_reason_as_google_rpc_wants_it(error: type[DetectorError]) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", error.reason)
    assert len(error.reason) <= 63


def test_reasons_differ() -> None:
    assert len({error.reason for error in CONCRETE}) == len(CONCRETE)


def test_abstract_errors_have_no_reason_of_their_own() -> None:
    assert not any("reason" in vars(error) for error in ABSTRACT)


@pytest.mark.parametrize("error", [*CONCRETE, *ABSTRACT])
def test_every_error_is_drawn_in_the_tree_and_says_whether_it_is_expected(error: type[DetectorError]) -> None:
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__
    assert error.__doc__ is not None
    assert error.__doc__.startswith(("Expected", "Unexpected"))


def test_an_invalid_request_names_all_its_violations() -> None:
    error = InvalidRequest([Violation("a", "is wrong"), Violation("b.c", "is worse")])
    assert error.message == str(error) == "a: is wrong; b.c: is worse"
    assert error.violations == (Violation("a", "is wrong"), Violation("b.c", "is worse"))


def test_metadata_is_text() -> None:
    assert errors.ImageTooLarge("raw", 4, 3, 11).metadata == {"width": "4", "height": "3", "maxPixels": "11"}
    assert errors.ImageTooLarge("raw", 4, 3, 11).message == "the raw picture has 4 x 3 = 12 pixels, the limit is 11"


def test_operators_get_a_line_per_fault() -> None:
    error = errors.SetupInvalid(["one", "two"])
    assert error.message == "one\ntwo"
    assert error.faults == ("one", "two")
