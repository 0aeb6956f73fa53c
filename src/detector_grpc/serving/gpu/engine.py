"""A model with memory of its own where it runs, as a batch engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from detector_grpc.errors import InferenceFailed
from detector_grpc.serving.session import OnnxSession, import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from mmap import mmap

    from numpy.typing import NDArray

    from detector_grpc.serving.rows import Row
    from detector_grpc.serving.session import Model

# By which a run says which of the recorded graphs it is; this one is none.
_GRAPH, _NOT_RECORDED = "gpu_graph_id", "-1"


class DeviceMemory(Protocol):
    """See gpu.memory.CudaMemory."""

    kind: str
    device: int

    def pinned(self, memory: mmap) -> AbstractContextManager[None]:
        """While it is entered, memory is fast to copy from and to."""

    def upload(self, source: NDArray[Any], target: int) -> None:
        """Begins to copy a contiguous array to an address on the device."""

    def download(self, source: int, target: NDArray[Any]) -> None:
        """Begins to copy from an address on the device into a contiguous array."""

    def wait(self) -> None:
        """Returns when all copies are made."""


class _Bound(NamedTuple):
    """What a run of one size of batch reads and writes on the device."""

    binding: Any
    feeds: Mapping[str, int]
    results: Mapping[str, int]
    options: Any
    arrays: Sequence[Any]  # to which the addresses belong


class BoundEngine(OnnxSession):
    """Runs batches in memory that stays where it is; see batching.Engine.

    A batch is copied to the device, run, and copied back, one after the other: while one engine copies another one
    runs, so two of them keep a GPU busy. The first run of each size of batch takes the memory for it, and lets a
    provider that can record what the device does as a graph: from then on, one order takes the place of one for each of
    the model's hundreds of steps.

    Args:
        model: The model.
        provider: The execution provider that must run it.
        provider_options: What the provider is told, by names of its own.
        memory: That of the device.

    Raises:
        ModelInvalid: As OnnxSession.
    """

    def __init__(self, model: Model, provider: str, provider_options: Mapping[str, str], memory: DeviceMemory) -> None:
        super().__init__(model, provider, provider_options=provider_options)
        self._memory = memory
        self._bound: dict[int, _Bound] = {}

    def pinned(self, memory: mmap) -> AbstractContextManager[None]:
        """See batching.Engine."""
        return self._memory.pinned(memory)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session; slow, since nothing is prepared for it."""
        try:
            values: list[NDArray[Any]] = self._session.run(outputs, feeds, _run_options(_NOT_RECORDED))
        except Exception as error:
            raise InferenceFailed from error
        return values

    def run_batch(self, rows: Sequence[Row], size: int) -> None:
        """See batching.Engine."""
        try:
            bound = self._bound.get(size) or self._bind(rows[0], size)
            for number, row in enumerate(rows):
                for name, value in row.feeds.items():
                    self._memory.upload(value, bound.feeds[name] + number * value.nbytes)
            self._memory.wait()
            self._session.run_with_iobinding(bound.binding, bound.options)
            for number, row in enumerate(rows):
                for name, value in row.results.items():
                    self._memory.download(bound.results[name] + number * value.nbytes, value)
            self._memory.wait()
        except Exception as error:
            raise InferenceFailed from error

    def close(self) -> None:
        """See Session."""
        self._bound.clear()
        super().close()

    def _bind(self, row: Row, size: int) -> _Bound:
        arrays, binding = [], self._session.io_binding()

        def addresses(samples: Mapping[str, NDArray[Any]], bind: Any) -> dict[str, int]:  # noqa: ANN401 - no types
            found = {}
            for name, sample in samples.items():
                array = import_onnxruntime().OrtValue.ortvalue_from_shape_and_type(
                    (size, *sample.shape[1:]), sample.dtype, self._memory.kind, self._memory.device
                )
                bind(name, array)
                arrays.append(array)
                found[name] = array.data_ptr()
            return found

        feeds = addresses(row.feeds, binding.bind_ortvalue_input)
        results = addresses(row.results, binding.bind_ortvalue_output)
        bound = self._bound[size] = _Bound(binding, feeds, results, _run_options(str(size)), arrays)
        return bound


def _run_options(graph: str) -> Any:  # noqa: ANN401 - onnxruntime has no types
    options = import_onnxruntime().RunOptions()
    options.add_run_config_entry(_GRAPH, graph)
    return options
