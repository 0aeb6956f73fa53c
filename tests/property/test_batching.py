from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.engines import DoublingEngine

from detector_grpc.errors import InferenceFailed
from detector_grpc.serving.batching import BatchingSession, batch_sizes


@given(
    engines=st.integers(1, 3),
    max_batch=st.integers(1, 9),
    max_delay_s=st.sampled_from([0.0, 0.001]),
    callers=st.integers(1, 12),
    runs=st.integers(1, 5),
    failures=st.lists(st.booleans(), max_size=10),
)
def test_everyone_gets_his_own_answer_or_an_error_and_no_batch_is_too_large(
    engines: int, max_batch: int, max_delay_s: float, callers: int, runs: int, failures: list[bool]
) -> None:
    doubles = [DoublingEngine() for _ in range(engines)]
    session = BatchingSession(doubles, max_batch, max_delay_s)
    session.run({"images": np.zeros((1, 2), np.uint8)}, ["twice"])
    for double in doubles:
        double.sizes.clear()
        double.failures.extend(RuntimeError() if fails else None for fails in failures)

    def call(caller: int) -> int:
        answered = 0
        for number in range(runs):
            value = caller * runs + number
            try:
                (answer,) = session.run({"images": np.full((1, 2), value, np.uint8)}, ["twice"])
            except InferenceFailed:
                continue
            assert answer.tolist() == [[2 * value] * 2]
            answered += 1
        return answered

    with ThreadPoolExecutor(callers) as threads:
        answered = sum(threads.map(call, range(callers)))
    session.close()
    sizes = [size for double in doubles for size in double.sizes]
    assert set(sizes) <= set(batch_sizes(max_batch))
    assert callers * runs <= sum(sizes)
    if not any(failures):
        assert answered == callers * runs
