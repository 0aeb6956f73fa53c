"""What serving adds to the stages it is made of: a bare loop, gRPC alone and this server, in turns, on one machine.

All of them run the same pipeline on the same picture with the same model, each in a process of its own:

- the loop calls the pipeline directly;
- gRPC alone is the least server there can be: grpc.aio, one hop to a worker thread, a constant answer, no interceptors;
- served is this project's server with all default interceptors on, called by Detect;
- streamed is the same process, sent the same pictures as frames of LOSSLESS streams, one unanswered at a time.

They are compared one picture at a time (the loop on one thread, the servers with one client), and busy (the loop on as
many threads as the servers have workers, the servers with twice as many clients). One client leaves the processors idle
between its calls, and an idle processor is slow to start again; that is nobody's code, but is counted to whoever runs
next. Rounds are short and take turns, so that what else the machine does falls on all alike. Figures are per request:
CPU time of the process, all its threads, and median latency as the caller sees it.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import cv2
import grpc
import grpc.aio
import numpy as np
import uvloop
from arguments import at_least
from demo_server import cpu_clock_s, repository_server
from nets import NETS, write_repository
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detector_grpc import configured, settings
from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest
from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import DetectorServiceStub
from detector_grpc._gen.detector.v1.image_pb2 import Image
from detector_grpc._gen.detector.v1.stream_pb2 import DELIVERY_MODE_LOSSLESS, Frame, StreamConfig, StreamDetectRequest
from detector_grpc.client import Detector
from detector_grpc.rpc.transport import channel
from detector_grpc.serving.memory import use_one_heap
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.repository import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from detector_grpc.serving.pipeline import Pipeline

# Width, height and about how many bytes.
PICTURES = {"vga": (640, 480, 100_000), "1080p": (1920, 1080, 520_000), "12mp": (4000, 3000, 2_800_000)}
WIDTH, HEIGHT, _ = PICTURES["vga"]
VERSION = "v1"

SIDES = ("bare loop", "gRPC alone", "served", "streamed")


class Sample(NamedTuple):
    """One side of one round, milliseconds per request."""

    cpu_ms: float
    latency_ms: float


class Setup(NamedTuple):
    """What all sides have in common.

    Attributes:
        repository: Folder of models.
        model: The one that is run, version VERSION.
        data: The picture, a JPEG.
    """

    repository: Path
    model: str
    data: bytes


def picture(kind: str = "vga") -> bytes:
    """One of PICTURES as JPEG: the bundled scene, with as much noise as it takes."""
    width, height, target_bytes = PICTURES[kind]
    scene = np.asarray(cv2.imread(str(configured.BUNDLED / "pictures" / "desk.jpg")))
    image = cv2.resize(scene, (width, height)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    for strength in np.arange(0, 60, 0.5):
        data = cv2.imencode(".jpg", np.clip(image + strength * noise, 0, 255).astype(np.uint8))[1].tobytes()
        if len(data) >= target_bytes:
            break
    return data


def timed(work: Callable[[], object], count: int) -> list[float]:
    """Seconds that each of `count` calls took."""
    latencies = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        latencies.append(time.perf_counter() - started)
    return latencies


def sample(works: Sequence[Callable[[], object]], count: int, cpu_s: Callable[[], float]) -> Sample:
    """Does each of `works` `count` times, all at once, each on a thread of its own."""
    started = cpu_s()
    with ThreadPoolExecutor(len(works)) as threads:
        latencies = [latency for part in threads.map(lambda work: timed(work, count), works) for latency in part]
    return Sample((cpu_s() - started) / len(latencies) * 1e3, statistics.median(latencies) * 1e3)


def open_pipeline(setup: Setup) -> tuple[Pipeline, int]:
    """The pipeline of the model, and how many workers a server would have."""
    cv2.setNumThreads(1)
    use_one_heap()
    defaults = settings.load({})
    versions = Sources([setup.repository]).scan()
    source = next(each for each in versions if (each.model, each.version) == (setup.model, VERSION))
    loaded = open_version(source, configured.open_file(defaults), defaults.limits.max_pixels)
    return loaded.pipeline, configured.workers(defaults)


def bare_loop(connection: Connection, setup: Setup) -> None:
    """Runs the pipeline as often and on as many threads as told, and answers with the sample."""
    pipeline, workers = open_pipeline(setup)
    work = partial(pipeline.detect, EncodedImage(setup.data), RequestedOptions())
    connection.send(workers)
    while order := connection.recv():
        threads, count = order
        connection.send(sample([work] * threads, count, time.process_time))


def grpc_alone(connection: Connection, setup: Setup) -> None:
    """Serves the pipeline with nothing around it, on a port that it tells, until terminated."""
    pipeline, workers = open_pipeline(setup)

    async def serve() -> None:
        threads, loop = ThreadPoolExecutor(workers), asyncio.get_running_loop()

        async def detect(request: DetectRequest, _: object) -> bytes:
            await loop.run_in_executor(
                threads, pipeline.detect, EncodedImage(request.image.encoded), RequestedOptions()
            )
            return b""

        method = grpc.unary_unary_rpc_method_handler(detect, DetectRequest.FromString)
        service = grpc.method_handlers_generic_handler("detector.v1.DetectorService", {"Detect": method})
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("localhost:0")
        await server.start()
        connection.send(port)
        await server.wait_for_termination()

    uvloop.run(serve())


class Streaming:
    """A stream on which every call sends the picture as the next frame, and waits for its answer."""

    def __init__(self, address: str, data: bytes, model: str) -> None:
        self._channel = channel(address)
        self._image = Image(encoded=data)
        self._frame_id = 0
        self._outgoing: SimpleQueue[StreamDetectRequest | None] = SimpleQueue()
        config = StreamConfig(model=model, version=VERSION, mode=DELIVERY_MODE_LOSSLESS)
        self._outgoing.put(StreamDetectRequest(config=config))
        self._answers = DetectorServiceStub(self._channel).StreamDetect(iter(self._outgoing.get, None))
        next(self._answers)

    def __call__(self) -> None:
        """One frame, from sending it to its answer."""
        self._frame_id += 1
        self._outgoing.put(StreamDetectRequest(frame=Frame(frame_id=self._frame_id, image=self._image)))
        while next(self._answers).WhichOneof("message") != "result":
            pass

    def close(self) -> None:
        """Ends the stream."""
        self._outgoing.put(None)
        self._channel.close()


class Bench:
    """The three processes, and the clients of two of them."""

    def __init__(self, stack: ExitStack, setup: Setup, requests: int) -> None:
        self._requests = requests
        spawn = multiprocessing.get_context("spawn")
        self._loop, far = spawn.Pipe()
        spawn.Process(target=bare_loop, args=(far, setup), daemon=True).start()
        stack.callback(self._loop.send, None)
        self.workers = self._loop.recv()
        self._servers: list[tuple[Sequence[Callable[[], object]], Callable[[], float]]] = []
        near, far = spawn.Pipe()
        alone = spawn.Process(target=grpc_alone, args=(far, setup), daemon=True)
        alone.start()
        server = stack.enter_context(repository_server(setup.repository))
        for address, pid in ((f"localhost:{near.recv()}", alone.pid or 0), (server.address, server.process.pid)):
            detectors = [Detector(address, setup.model, VERSION) for _ in range(2 * self.workers)]
            clients = [partial(stack.enter_context(detector).detect, setup.data) for detector in detectors]
            cpu_s = partial(cpu_clock_s, pid)
            self._servers.append((clients, cpu_s))
        streams = [
            stack.enter_context(closing(Streaming(server.address, setup.data, setup.model)))
            for _ in range(2 * self.workers)
        ]
        self._servers.append((streams, cpu_s))  # of the same process

    def round(self, threads: int, clients: int) -> list[Sample]:
        """One sample of each side, in the order of SIDES."""
        self._loop.send((threads, self._requests))
        samples = [self._loop.recv()]
        samples += [sample(works[:clients], self._requests, cpu_s) for works, cpu_s in self._servers]
        return samples


def report(rows: dict[str, list[list[float]]], title: str) -> None:
    """Prints medians over the rounds, and medians and quartiles of what each side adds to the loop in its round."""
    table = Table("per request, ms", SIDES[0], *(f"{side} adds" for side in SIDES[1:]))
    for name, rounds in rows.items():
        cells = [f"{statistics.median(values[0] for values in rounds):.2f}"]
        for side in range(1, len(SIDES)):
            lower, median, upper = statistics.quantiles((values[side] - values[0] for values in rounds), n=4)
            cells.append(f"{median:.2f} ({lower:.2f} to {upper:.2f})")
        table.add_row(name, *cells)
    console = Console()
    count = len(next(iter(rows.values())))
    console.print(f"{title}; {count} rounds; median (quartiles)")
    console.print(table)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(2), default=60)
    parser.add_argument("--requests", type=at_least(1), default=10, help="per round, client and side")
    parser.add_argument("--picture", choices=PICTURES, default="vga")
    parser.add_argument("--net", choices=[configured.BUNDLED_MODEL, *NETS], default=configured.BUNDLED_MODEL)
    arguments = parser.parse_args()
    data = picture(arguments.picture)
    single, busy = [], []
    with ExitStack() as stack:
        repository = configured.BUNDLED / "models"
        if arguments.net in NETS:
            repository = write_repository(Path(stack.enter_context(TemporaryDirectory())), arguments.net)
        bench = Bench(stack, Setup(repository, arguments.net, data), arguments.requests)
        for _ in range(3):
            bench.round(bench.workers, 2 * bench.workers)
        for _ in track(range(arguments.rounds), "measuring", console=Console(stderr=True)):
            single.append(bench.round(1, 1))
            busy.append(bench.round(bench.workers, 2 * bench.workers))
    width, height, _ = PICTURES[arguments.picture]
    report(
        {
            f"CPU, {2 * bench.workers} clients": [[side.cpu_ms for side in each] for each in busy],
            "CPU, 1 client": [[side.cpu_ms for side in each] for each in single],
            "latency, 1 client": [[side.latency_ms for side in each] for each in single],
        },
        f"{arguments.net}; JPEG {width} x {height}, {len(data)} bytes",
    )


if __name__ == "__main__":
    main()
