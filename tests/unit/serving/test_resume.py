"""Tokens that servers of one key accept, and nobody else makes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.errors import ResumeTokenExpired, ResumeTokenInvalid
from detector_grpc.serving.resume import MAX_AGE_S, ResumeTokens, Resumption

RESUMPTION = Resumption("codes", "v2", 2**63 - 1, 17)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_was_issued_is_read_by_all_who_share_the_key() -> None:
    token = ResumeTokens(b"key").issue(RESUMPTION)
    assert ResumeTokens(b"key").read(token) == RESUMPTION
    with pytest.raises(ResumeTokenInvalid):
        ResumeTokens(b"another key").read(token)


def test_a_token_expires() -> None:
    clock = Clock()
    tokens = ResumeTokens(b"key", clock)
    token = tokens.issue(RESUMPTION)
    clock.now += MAX_AGE_S
    assert tokens.read(token) == RESUMPTION
    clock.now += 1
    with pytest.raises(ResumeTokenExpired, match="is 601 s old, the limit is 600 s"):
        tokens.read(token)


@given(st.integers(0), st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    tokens = ResumeTokens(b"key")
    data = bytearray(base64.urlsafe_b64decode(tokens.issue(RESUMPTION)))
    data[place % len(data)] ^= change
    with pytest.raises(ResumeTokenInvalid):
        tokens.read(base64.urlsafe_b64encode(data).decode())


@given(st.text(max_size=200))
def test_whatever_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ResumeTokenInvalid):
        ResumeTokens(b"key").read(text)
