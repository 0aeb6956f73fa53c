"""What happens only once, before it could keep a call waiting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from detector_grpc.serving.memory_limit import own_bytes
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import RawImage
from detector_grpc.serving.session import GPU_PROVIDERS

if TYPE_CHECKING:
    from detector_grpc.serving.memory_limit import MemoryLimit
    from detector_grpc.serving.pipeline import Pipeline

ROUNDS = 2


def warm_up(pipeline: Pipeline, workers: int, memory: MemoryLimit) -> None:
    """Runs a model on as many pictures at once as it will be; blocking. It must not have run before.

    ONNX Runtime prepares for each run that goes on beside others: it takes memory, plans it in the first round and
    follows the plan from the second on; on a GPU there are streams, handles and the choice of kernels besides. On
    processors each run beside others takes as much as the first run of all does, and the plan as much again (measured:
    1.0 to 1.1 times, and 0.5 to 1.0).

    Raises:
        ModelTooLarge: So many runs at once take more memory than there is.
        DetectorError: The model cannot be run.
    """
    picture = RawImage(bytes(3), 1, 1, "RGB24")
    together = threading.Barrier(workers)

    def run(_: int) -> None:
        together.wait()
        pipeline.detect(picture, RequestedOptions())

    before = own_bytes()
    pipeline.detect(picture, RequestedOptions())
    if pipeline.provider not in GPU_PROVIDERS:  # whose first run takes much that later ones do not
        purpose = f"to run it on {workers} pictures at once (DETECTOR_RUNTIME_WORKERS)"
        memory.check(purpose, workers * (own_bytes() - before))
    with ThreadPoolExecutor(workers) as threads:
        for _ in range(ROUNDS):
            list(threads.map(run, range(workers)))
