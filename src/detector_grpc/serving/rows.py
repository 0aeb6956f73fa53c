"""The memory of one picture on its way through a model: what the model is fed with, and where its outputs go.

It is one block, so that processes can share it, and a GPU fetch from it and write to it by itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from mmap import mmap

    from numpy.typing import NDArray

# Of every array in the block: what a processor fetches at once, and more than any copy asks for.
_ALIGNMENT = 64


class Row(NamedTuple):
    """Arrays by name; each has one row, for the one picture."""

    feeds: Mapping[str, NDArray[Any]]
    results: Mapping[str, NDArray[Any]]


class ArrayShape(NamedTuple):
    """Shape and type of an array.

    Attributes:
        shape: Its sizes; the first is 1.
        dtype: Its type as numpy names it.
    """

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, array: NDArray[Any]) -> ArrayShape:
        """That of an array."""
        return cls(array.shape, str(array.dtype))

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes, up to where the next one may begin."""
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return -(-size // _ALIGNMENT) * _ALIGNMENT


class RowShapes(NamedTuple):
    """Where the arrays of a row lie: one after the other, the feeds first."""

    feeds: Mapping[str, ArrayShape]
    results: Mapping[str, ArrayShape]

    @classmethod
    def of(cls, feeds: Mapping[str, NDArray[Any]], results: Mapping[str, NDArray[Any]]) -> RowShapes:
        """Those of arrays by name."""
        return cls(*({name: ArrayShape.of(array) for name, array in arrays.items()} for arrays in (feeds, results)))

    @property
    def size_bytes(self) -> int:
        """Size of the block."""
        return sum(each.size_bytes for arrays in self for each in arrays.values())

    def row_in(self, memory: mmap) -> Row:
        """The arrays in a block of memory, which lasts as long as they do."""
        begin = 0

        def next_array(each: ArrayShape) -> NDArray[Any]:
            nonlocal begin
            array = np.frombuffer(memory, each.dtype, math.prod(each.shape), begin).reshape(each.shape)
            begin += each.size_bytes
            return array

        feeds, results = ({name: next_array(each) for name, each in arrays.items()} for arrays in self)
        return Row(feeds, results)
