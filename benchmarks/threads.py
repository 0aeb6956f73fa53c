"""One thread of the model for each picture, all threads for one, and as many as the load leaves: in turns.

Three servers of the same network, which costs what YOLOv9-T does, on the same processors: with as many workers as there
are processors and one thread for each run; with one worker and all threads for each run; and as servers come, which
choose by load. Each is called in turn, in changing order, by one client and by eight. What counts is how long a picture
takes beside the other servers in the same round: the time of the round and the processor time, both by the number of
pictures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arguments import at_least
from demo_server import repository_server
from nets import write_repository
from overhead import picture
from paired import median_of, ratio_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detector_grpc.client import Detector
from detector_grpc.serving.cpu import cpu_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from demo_server import DemoServer

ALL = str(cpu_limit())
BY_LOAD = "by load"
SIDES = {
    "one thread": ("--runtime-workers", ALL, "--runtime-intra-op-threads", "1"),
    "all threads": ("--runtime-workers", "1", "--runtime-intra-op-threads", ALL),
    BY_LOAD: (),
}
# Pictures of one client in a round, by the number of clients.
PICTURES = {1: 5, 8: 3}


class Taken(NamedTuple):
    """Of one round, milliseconds per picture."""

    wall_ms: float
    cpu_ms: float


def call(server: DemoServer, detect: Sequence[Callable[[], object]], pictures: int) -> Taken:
    """Has every client send so many pictures, one after the other."""
    began, before_s = time.perf_counter(), server.cpu_s()
    with ThreadPoolExecutor(len(detect)) as threads:
        for client in [threads.submit(lambda each=each: [each() for _ in range(pictures)]) for each in detect]:
            client.result()
    count = len(detect) * pictures
    return Taken((time.perf_counter() - began) / count * 1e3, (server.cpu_s() - before_s) / count * 1e3)


def measure(repository: Path, rounds: int) -> dict[int, dict[str, list[Taken]]]:
    """All rounds, by number of clients and side."""
    data = picture()
    taken: dict[int, dict[str, list[Taken]]] = {clients: defaultdict(list) for clients in PICTURES}
    with ExitStack() as stack:
        servers = {side: stack.enter_context(repository_server(repository, *flags)) for side, flags in SIDES.items()}
        detect = {
            side: [partial(stack.enter_context(Detector(server.address)).detect, data) for _ in range(max(PICTURES))]
            for side, server in servers.items()
        }
        for number in track(range(-1, rounds), "measuring", console=Console(stderr=True)):
            for clients, pictures in PICTURES.items():
                for side in list(SIDES)[:: 1 if number % 2 else -1]:
                    one = call(servers[side], detect[side][:clients], pictures)
                    if number >= 0:  # the first one only warms up
                        taken[clients][side].append(one)
    return taken


def _by_part(rounds: Sequence[Taken]) -> Sequence[Sequence[float]]:
    """All wall times, and all processor times."""
    return list(zip(*rounds, strict=True))


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(write_repository(Path(folder)), arguments.rounds)
    table = Table("median (95 %)", "wall, ms", "CPU, ms", "by load / this: wall", "CPU")
    for clients, sides in taken.items():
        chosen = _by_part(sides[BY_LOAD])
        for side, rounds in sides.items():
            parts = _by_part(rounds)
            ratios = [str(ratio_of(*both)) for both in zip(chosen, parts, strict=True)] if side != BY_LOAD else []
            table.add_row(f"{clients} at once, {side}", *(str(median_of(part)) for part in parts), *ratios)
        table.add_section()
    console = Console()
    console.print(f"{ALL} processors, {arguments.rounds} rounds; per picture")
    console.print(table)


if __name__ == "__main__":
    main()
