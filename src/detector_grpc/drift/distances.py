"""How far distributions are from each other, in units that people know."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Pool:
    """Numbers to which others are compared.

    Args:
        values: float (M,), M > 0, all finite.
    """

    def __init__(self, values: NDArray[np.floating]) -> None:
        self.values = np.sort(values.astype(np.float64))

    def wasserstein(self, values: NDArray[np.floating]) -> float:
        """Area between the cumulative distributions: how far a number moves on average. In the unit of the numbers.

        The first Wasserstein distance, as scipy.stats.wasserstein_distance has it.

        Args:
            values: float (n,), n > 0, all finite.
        """
        other = np.sort(values.astype(np.float64))
        both = np.sort(np.concatenate([self.values, other]))
        own = np.searchsorted(self.values, both[:-1], "right") / len(self.values)
        others = np.searchsorted(other, both[:-1], "right") / len(other)
        return float(np.abs(own - others) @ np.diff(both))


class Spread(NamedTuple):
    """How far the parts of a pool are from what the rest of it is like.

    Attributes:
        distances: float64 (K,), of each part.
        counts: int64 (K,), numbers in each part.
    """

    distances: NDArray[np.float64]
    counts: NDArray[np.int64]


def spread(parts: Sequence[NDArray[np.floating]]) -> Spread:
    """The Wasserstein distance of each part to all others together.

    Args:
        parts: K > 1 arrays of float (n_k,), n_k > 0, all finite.
    """
    counts = np.array([len(part) for part in parts])
    values = np.concatenate(parts).astype(np.float64)
    owners = np.repeat(np.arange(len(parts)), counts)
    order = np.argsort(values, kind="stable")
    is_of = owners[order][None, :] == np.arange(len(parts))[:, None]
    own = np.cumsum(is_of, axis=1) / counts[:, None]
    pooled = np.arange(1, len(values) + 1) / len(values)
    areas = np.abs(own - pooled)[:, :-1] @ np.diff(values[order])
    # The pool holds the part itself, to a share w: F - (w F + (1 - w) G) = (1 - w) (F - G).
    return Spread(areas / (1 - counts / counts.sum()), counts)


def jensen_shannon(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Square root of the Jensen-Shannon divergence in bits (Lin 1991) of two mixes. Range [0, 1].

    Args:
        one: Numbers by class; at least one is not 0.
        other: As `one`.
    """
    names = sorted({*one, *other})
    p, q = (np.array([mix.get(name, 0) for name in names], np.float64) for mix in (one, other))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    bits = sum(float(each[each > 0] @ np.log2(each[each > 0] / middle[each > 0])) for each in (p, q)) / 2
    return float(np.sqrt(max(bits, 0.0)))
