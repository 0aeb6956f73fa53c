"""Statistics are those of Evidently, on the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import support

from detector_grpc.drift.statistics import chi_square_p, two_samples

RNG = np.random.default_rng(17)
SAMPLES = {
    "like each other": (RNG.normal(0, 1, 800), RNG.normal(0.1, 1, 500)),
    "apart": (RNG.normal(0, 1, 50), RNG.normal(9, 1, 30)),
    "of two shapes": (RNG.exponential(1, 1000), RNG.normal(1, 1, 1000)),
    "counts": (RNG.integers(0, 8, 900).astype(float), RNG.integers(0, 9, 300).astype(float)),
    "one number": (np.full(100, 1.5), np.full(60, 1.5)),
    "one number, and another": (np.full(100, 1.5), np.full(60, 2.5)),
    "very few": (RNG.normal(0, 1, 8), RNG.normal(0, 1, 6)),
}
CLASSES = [
    RNG.choice(["person", "dog", "cat"], count, p=p) for count, p in ((400, [0.7, 0.2, 0.1]), (200, [0.6, 0.25, 0.15]))
]


@pytest.fixture(scope="module")
def evidently() -> dict[tuple[str, str], float]:
    """Scores of Evidently by test and samples."""
    cases = [(test, name) for test in ("psi", "wasserstein", "ks") for name in SAMPLES]
    questions = [[test, "num", *(each.tolist() for each in SAMPLES[name])] for test, name in cases]
    questions.append(["chi", "cat", *(each.tolist() for each in CLASSES)])
    program = Path(support.__file__).with_name("evidently_scores.py")
    done = subprocess.run(
        [sys.executable, "-P", program],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return dict(zip([*cases, ("chi", "classes")], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", SAMPLES)
def test_of_two_samples(name: str, evidently: dict[tuple[str, str], float]) -> None:
    ours = two_samples(*SAMPLES[name])

    assert (ours.psi, ours.wasserstein, ours.ks_p) == pytest.approx(
        tuple(evidently[test, name] for test in ("psi", "wasserstein", "ks")), rel=1e-6, abs=1e-6
    )


def test_of_classes(evidently: dict[tuple[str, str], float]) -> None:
    assert chi_square_p(*map(Counter, CLASSES)) == pytest.approx(evidently["chi", "classes"], abs=1e-6)


def test_a_class_that_was_never_seen_leaves_no_doubt() -> None:
    assert chi_square_p({"dog": 10}, {"dog": 9, "cat": 1}) == 0
