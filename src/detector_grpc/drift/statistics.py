"""Classical statistics of two samples, for people who know them: shown beside the state, which does not follow them.

They take observations for independent, which pictures of a camera are not. Computed as Evidently 0.7 computes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Shares of empty bins, whose logarithm would be infinite.
_EMPTY = 1e-4
# Samples of no more different numbers are compared number by number.
_FEW = 20


class TwoSamples(NamedTuple):
    """Of a reference and a current sample of one feature.

    Attributes:
        psi: Population stability index; 0.1 is called moderate, 0.25 large (Siddiqi 2006).
        wasserstein: First Wasserstein distance in standard deviations of the reference.
        ks: Kolmogorov-Smirnov statistic: largest difference of the cumulative distributions. Range [0, 1].
        ks_p: Its p-value for independent observations.
    """

    psi: float
    wasserstein: float
    ks: float
    ks_p: float


def two_samples(reference: NDArray[np.float64], current: NDArray[np.float64]) -> TwoSamples:
    """Compares two samples.

    Args:
        reference: float64 (n,), n > 0, all finite.
        current: float64 (m,), m > 0, all finite.
    """
    test = stats.ks_2samp(reference, current)
    scale = max(float(np.std(reference)), 0.001)
    wasserstein = float(stats.wasserstein_distance(reference, current)) / scale
    return TwoSamples(psi(reference, current), wasserstein, float(test.statistic), float(test.pvalue))


def psi(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Population stability index, over the bins that Sturges' rule gives to both together."""
    if len(np.unique(reference)) > _FEW:
        edges = np.histogram_bin_edges(np.concatenate([reference, current]), bins="sturges")
        shares = [np.histogram(each, edges)[0] / len(each) for each in (reference, current)]
    else:
        values = np.unique(np.concatenate([reference, current]))
        shares = [(each[:, None] == values).sum(axis=0) / len(each) for each in (reference, current)]
    one, other = (_filled(each) for each in shares)
    return float(((one - other) * np.log(one / other)).sum())


def chi_square_p(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """P-value of Pearson's chi-square test that the current mix of classes is the reference's, for independent boxes.

    Args:
        reference: Number of boxes by class; not empty.
        current: As `reference`.
    """
    names = sorted({*reference, *current})
    observed = np.array([current.get(name, 0) for name in names], np.float64)
    expected = np.array([reference.get(name, 0) for name in names], np.float64)
    with np.errstate(divide="ignore"):  # a class that the reference never saw makes it 0
        return float(stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)


def _filled(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """With what stands for nothing in the place of nothing."""
    least = shares[shares > 0].min()
    return np.where(shares == 0, least / 1e6 if least <= _EMPTY else _EMPTY, shares)
