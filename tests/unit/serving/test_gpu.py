"""What can be said of GPUs without one: the engine on a device that is this processor, and what CUDA is told."""

from __future__ import annotations

from contextlib import suppress
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from support.host_gpu import HostMemory
from support.onnx_files import IR_VERSION, OPSET

from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid
from detector_grpc.serving.batching import BatchingSession
from detector_grpc.serving.gpu import memory, providers
from detector_grpc.serving.gpu.engine import BoundEngine
from detector_grpc.serving.gpu.memory import CudaFailed, CudaMemory
from detector_grpc.serving.gpu.providers import GpuOptions
from detector_grpc.serving.inputs import PICTURES
from detector_grpc.serving.rows import RowShapes
from detector_grpc.serving.session import CPU_PROVIDER, CUDA, TENSORRT, Model

if TYPE_CHECKING:
    import ctypes

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def model() -> Model:
    """Answers twice what it is fed with, as floats."""
    shape = ["batch", 4, 6, 3]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [PICTURES], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["numbers", "numbers"], ["twice"]),
        ],
        "twice",
        [helper.make_tensor_value_info(PICTURES, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("twice", TensorProto.FLOAT, shape)],
    )
    opset = [helper.make_opsetid("", OPSET)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()
    return Model(Path("twice.onnx"), content)


def engine(model: Model, device: HostMemory | None = None) -> BoundEngine:
    return BoundEngine(model, CPU_PROVIDER, {}, device or HostMemory())


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 4, 6, 3), np.uint8)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 4), (4, 4), (1, 8)])
def test_each_picture_of_a_batch_is_answered_as_if_it_were_alone(model: Model, count: int, size: int) -> None:
    samples = pictures(count)
    expected = 2 * samples.astype(np.float32)
    shapes = RowShapes.of({PICTURES: samples[:1]}, {"twice": expected[:1]})
    rows = [shapes.row_in(mmap(-1, shapes.size_bytes)) for _ in range(count)]
    bound = engine(model)
    for _ in range(2):  # the first takes the memory
        for row, sample in zip(rows, samples, strict=True):
            row.feeds[PICTURES][0] = sample
            row.results["twice"][:] = -1
        bound.run_batch(rows, size)
        np.testing.assert_array_equal(np.concatenate([row.results["twice"] for row in rows]), expected)


def test_only_what_is_there_is_copied(model: Model) -> None:
    device = HostMemory()
    samples = pictures(1)
    expected = 2 * samples.astype(np.float32)
    shapes = RowShapes.of({PICTURES: samples}, {"twice": expected})
    engine(model, device).run_batch([shapes.row_in(mmap(-1, shapes.size_bytes))] * 3, 8)
    assert device.copies == [samples.nbytes] * 3 + [expected.nbytes] * 3


def test_what_the_runtime_refuses_is_a_failed_inference(model: Model) -> None:
    shapes = RowShapes.of({"no such input": pictures(1)}, {"twice": np.zeros((1, 4, 6, 3), np.float32)})
    with pytest.raises(InferenceFailed):
        engine(model).run_batch([shapes.row_in(mmap(-1, shapes.size_bytes))], 1)


def test_a_session_of_bound_engines_answers_each_picture(model: Model) -> None:
    session = BatchingSession([engine(model), engine(model)], max_batch=4)
    for sample in pictures(5):
        np.testing.assert_array_equal(session.run({PICTURES: sample[None]}, ["twice"])[0][0], 2.0 * sample)
    session.close()


def options(provider: str, **changed: Any) -> GpuOptions:
    plain = GpuOptions(provider, (0,), engines=2, max_batch=16, graphs=False, fp16=False, cache=None)
    return plain._replace(**changed)


def test_float32_is_not_rounded_to_ten_bits_by_cuda() -> None:
    assert providers._cuda(options(CUDA))["use_tf32"] == "0"


@pytest.mark.parametrize("graphs", [True, False])
def test_cuda_records_graphs_if_it_is_told_to(graphs: bool) -> None:  # noqa: FBT001
    assert providers._cuda(options(CUDA, graphs=graphs))["enable_cuda_graph"] == str(int(graphs))


def test_tensorrt_is_told_which_sizes_will_come(model: Model) -> None:
    told = providers._tensorrt(options(TENSORRT, max_batch=8), model)
    assert told["trt_profile_min_shapes"] == f"{PICTURES}:1x4x6x3"
    assert told["trt_profile_opt_shapes"] == told["trt_profile_max_shapes"] == f"{PICTURES}:8x4x6x3"


def test_tensorrt_keeps_what_it_has_built_where_it_is_told(model: Model) -> None:
    told = providers._tensorrt(options(TENSORRT, cache=Path("/cache")), model)
    assert (told["trt_engine_cache_enable"], told["trt_engine_cache_path"]) == ("1", "/cache")
    assert providers._tensorrt(options(TENSORRT), model)["trt_engine_cache_enable"] == "0"


def test_a_provider_that_onnx_runtime_does_not_have_is_refused_with_those_that_it_has(model: Model) -> None:
    with pytest.raises(
        SetupInvalid, match=f"{TENSORRT} is not available in this ONNX Runtime; it has .*{CPU_PROVIDER}"
    ):
        providers.open_engines(options(TENSORRT), model)


def test_without_a_driver_the_operator_is_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    memory._driver.cache_clear()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU_PROVIDER])
    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    with pytest.raises(ModelInvalid, match="GPU 0 cannot be used: there is no NVIDIA driver"):
        providers.open_engines(options(CUDA), model)


class Driver:
    """CUDA's driver, as far as it is called: it notes what it is told, and fails where it is to."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[str] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_INVALID_DEVICE"
                return 0
            self.calls.append(name)
            return 101 if name == self._failing else 0

        return call


def test_what_the_driver_refuses_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_driver", lambda: Driver(failing="cuDeviceGet"))
    with pytest.raises(CudaFailed, match="cuDeviceGet: CUDA_ERROR_INVALID_DEVICE"):
        CudaMemory(7)


def test_memory_is_pinned_until_it_is_left_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(memory, "_driver", lambda: driver)
    device = CudaMemory(0)
    with suppress(ZeroDivisionError), device.pinned(mmap(-1, 4096)):
        assert driver.calls[-1] == "cuMemHostRegister_v2"
        raise ZeroDivisionError
    assert driver.calls[-1] == "cuMemHostUnregister"
