"""The budget holds in every hour, for every order of coming and however many processes ask."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from detector_grpc.capture.ledger import Budget, Ledger, Origin, Verdict

STREAMS = ["", "hall", "yard"]
COMING = st.tuples(st.sampled_from([0.0, 0.5, 30.0, 900.0, 4000.0]), st.sampled_from(STREAMS), st.integers(0, 1))
HOUR_S = 3600


@settings(max_examples=60)
@given(
    st.lists(COMING, max_size=40),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([0.0, 10.0, 5000.0]),
    st.integers(0, 40),
    st.sampled_from([0.0, 100_000.0]),
)
def test_no_hour_has_more_than_its_budget(
    coming: list[tuple[float, str, int]],
    max_per_hour: int,
    max_per_stream: int,
    cooldown_s: float,
    steps_at: int,
    back_s: float,
) -> None:
    """Real time goes on, while the clock that the ledger is told goes back once."""
    budget = Budget(max_per_hour, max_per_stream, cooldown_s)
    with tempfile.TemporaryDirectory() as folder:
        ledgers = [Ledger(Path(folder), budget) for _ in range(2)]
        now, clock, kept = 0.0, 1e9, []
        for number, (wait_s, stream, process) in enumerate(coming):
            now += wait_s
            clock += wait_s - (back_s if number == steps_at else 0)
            fingerprint = bytes([number * 6 % 256, 255 - number] * 128)
            admission = ledgers[process].admit(Origin("m", "v1", stream, ""), fingerprint, clock)
            if admission.verdict is Verdict.ADMITTED:
                kept.append((now, stream))
            elif not (back_s and number >= steps_at):
                assert admission.wait_s >= 0
        for ledger in ledgers:
            ledger.close()
    margin_s = 1e-3
    for at, _ in kept:
        hour = [stream for then, stream in kept if at <= then < at + HOUR_S - margin_s]
        assert len(hour) <= max_per_hour
        for stream in STREAMS[1:]:
            assert hour.count(stream) <= max_per_stream
    for stream in STREAMS[1:]:
        times = [at for at, of in kept if of == stream]
        assert all(later - before >= cooldown_s - margin_s for before, later in pairwise(times))
