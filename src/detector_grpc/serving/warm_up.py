"""What happens only once, before it could keep a call waiting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import RawImage

if TYPE_CHECKING:
    from detector_grpc.serving.pipeline import Pipeline

ROUNDS = 2


def warm_up(pipeline: Pipeline, workers: int) -> None:
    """Runs a model on as many pictures at once as it will be; blocking.

    ONNX Runtime prepares for each run that goes on beside others: it takes memory, plans it in the first round and
    follows the plan from the second on; on a GPU there are streams, handles and the choice of kernels besides.

    Raises:
        DetectorError: The model cannot be run.
    """
    picture = RawImage(bytes(3), 1, 1, "RGB24")
    together = threading.Barrier(workers)

    def run(_: int) -> None:
        together.wait()
        pipeline.detect(picture, RequestedOptions())

    with ThreadPoolExecutor(workers) as threads:
        for _ in range(ROUNDS):
            list(threads.map(run, range(workers)))
