"""The execution providers that run models on NVIDIA GPUs, and what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.gpu.engine import BoundEngine
from detector_grpc.serving.gpu.memory import CudaFailed, CudaMemory
from detector_grpc.serving.session import TENSORRT, OnnxSession, check_provider, import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detector_grpc.serving.session import Model


class GpuOptions(NamedTuple):
    """How GPUs are used.

    Attributes:
        provider: CUDA or TENSORRT.
        devices: Numbers of the GPUs, as CUDA counts them.
        engines: Of one model on each GPU.
        max_batch: Most pictures in a batch.
        graphs: Whether CUDA records the steps of a run.
        fp16: Whether TensorRT may compute in half precision.
        cache: Where TensorRT keeps what it has built; None for nowhere.
    """

    provider: str
    devices: tuple[int, ...]
    engines: int
    max_batch: int
    graphs: bool
    fp16: bool
    cache: Path | None


def open_engines(gpu: GpuOptions, model: Model) -> Sequence[BoundEngine]:
    """Opens a model on all GPUs.

    Raises:
        ModelInvalid: It is no valid ONNX model, or a GPU is not there.
        SetupInvalid: The provider is not there.
    """
    check_provider(gpu.provider)
    import_onnxruntime().preload_dlls()  # those of CUDA that come as Python packages
    options = _tensorrt(gpu, model) if gpu.provider == TENSORRT else _cuda(gpu)
    return [
        BoundEngine(model, gpu.provider, {"device_id": str(device), **options}, _memory(device))
        for device in gpu.devices
        for _ in range(gpu.engines)
    ]


def _memory(device: int) -> CudaMemory:
    try:
        return CudaMemory(device)
    except CudaFailed as error:
        raise ModelInvalid(f"GPU {device} cannot be used: {error}") from error


def _cuda(gpu: GpuOptions) -> dict[str, str]:
    return {
        "enable_cuda_graph": str(int(gpu.graphs)),
        "cudnn_conv_algo_search": "EXHAUSTIVE",  # sizes of batches are few, so it pays
        "use_tf32": "0",  # or float32 would be rounded to 10 bits
    }


def _tensorrt(gpu: GpuOptions, model: Model) -> dict[str, str]:
    options = {
        "trt_fp16_enable": str(int(gpu.fp16)),
        "trt_engine_cache_enable": str(int(gpu.cache is not None)),
        "trt_timing_cache_enable": str(int(gpu.cache is not None)),
        "trt_engine_cache_path": str(gpu.cache or ""),
        "trt_timing_cache_path": str(gpu.cache or ""),
    }
    inputs = OnnxSession(model, optimised=False).signature("").inputs
    for key, pictures in (("min", 1), ("opt", gpu.max_batch), ("max", gpu.max_batch)):
        shapes = (f"{each.name}:{'x'.join(str(size or pictures) for size in each.shape)}" for each in inputs)
        options[f"trt_profile_{key}_shapes"] = ",".join(shapes)
    return options
