"""Whether a request costs this tree more processor time than it cost the last release: more than a tenth fails.

The release is checked out into a temporary folder and installed there by its own Makefile, with what it pins. Both
servers run beside each other and take turns in short rounds of the same load; what counts is the ratio of each round.
Two models are called: the bundled one, as a user has it, and a tiny one, whose requests are all serving. No call is
such that it gets all processors, since what that costs depends on who else wants them. Rounds go on until it is sure on
which side of the limit each ratio lies: its interval does not contain the limit, or is narrow enough for its median to
decide.

Exit codes: 0, nothing costs over a tenth more; 1, something does; 2, it cannot be told. To be run with the tests' own
parts at hand: `PYTHONPATH=tests python benchmarks/gate.py`.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from contextlib import ExitStack, closing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from demo_server import demo_server
from overhead import Streaming, picture, sample
from paired import median_of, ratio_of
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.onnx_files import tiny_onnx

from detector_grpc.client import Detector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from demo_server import DemoServer
    from paired import Estimate

ROOT = Path(__file__).parent.parent
VERSION = "v1"
CLIENTS = 4
# Requests of each client in a round, so that both models take about as long.
REQUESTS = {"codes": 3, "tiny": 20}
NONE_NAMED = "there is no release yet to compare with: name a commit, as in `make bench-gate BASE=main`"

MOST = 1.10
NARROW = 0.04
FEWEST_ROUNDS = 20


class Verdict(Enum):
    """Of a ratio, and by its value the exit code."""

    PASSES = 0
    FAILS = 1
    UNSURE = 2

    @classmethod
    def on(cls, ratio: Estimate) -> Verdict:
        """Where a ratio lies beside the limit, if that is sure."""
        low, high = ratio.interval.low, ratio.interval.high
        if low <= MOST <= high and high - low > NARROW:
            return cls.UNSURE
        return cls.FAILS if ratio.median > MOST else cls.PASSES


def git(*arguments: str) -> bytes:
    """What git answers; nothing if it fails."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout  # noqa: S607


def install(base: str, folder: Path) -> str:
    """Installs that commit in the folder, and returns its interpreter."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", base))) as archive:
        archive.extractall(folder, filter="data")
    command = ["env", "--unset=MAKEFLAGS", "--unset=PYTHONPATH", "make", "install"]  # neither is meant for it
    subprocess.run(command, cwd=folder, stdout=sys.stderr, check=True)
    return str(folder / ".venv" / "bin" / "python")


def loads(stack: ExitStack, server: DemoServer, data: bytes) -> dict[tuple[str, str], Sequence[Callable[[], object]]]:
    """What is called, by model and kind."""
    found: dict[tuple[str, str], Sequence[Callable[[], object]]] = {}
    for model in REQUESTS:
        detectors = [stack.enter_context(Detector(server.address, model, VERSION)) for _ in range(CLIENTS)]
        found[model, f"Detect, {CLIENTS} clients"] = [lambda each=each: each.detect(data) for each in detectors]
        found[model, "LOSSLESS stream"] = [stack.enter_context(closing(Streaming(server.address, data, model)))]
    return found


def measure(pythons: Sequence[str], models: Path, most_rounds: int) -> dict[tuple[str, str], list[list[float]]]:
    """CPU-ms per request of each of the servers, in each round, by model and kind."""
    data = picture()
    cpu_ms: dict[tuple[str, str], list[list[float]]] = defaultdict(lambda: [[] for _ in pythons])
    with ExitStack() as stack:
        servers = [
            stack.enter_context(demo_server("--models-repository", str(models), python=python)) for python in pythons
        ]
        calls = [loads(stack, server, data) for server in servers]
        for number in track(range(-1, most_rounds), "measuring", console=Console(stderr=True)):
            for load in calls[0]:
                for side in range(len(servers))[:: 1 if number % 2 else -1]:
                    taken = sample(calls[side][load], REQUESTS[load[0]], servers[side].cpu_s)
                    if number >= 0:  # the first one only warms up
                        cpu_ms[load][side].append(taken.cpu_ms)
            if number + 1 >= FEWEST_ROUNDS and Verdict.UNSURE not in map(judged, cpu_ms.values()):
                break
    return cpu_ms


def judged(sides: list[list[float]]) -> Verdict:
    """The verdict on what was measured of the base and of this tree."""
    base, ours = sides
    return Verdict.on(ratio_of(ours, base))


def main() -> int:
    """Measures, prints the table, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="", help="tag or commit to compare with; the latest tag unless given")
    parser.add_argument("--most-rounds", type=int, default=150)
    arguments = parser.parse_args()
    console = Console()
    base = arguments.base or git("describe", "--tags", "--abbrev=0").decode().strip()
    if not git("rev-parse", "--verify", f"{base}^{{commit}}"):
        console.print(f"there is no commit {base}" if base else NONE_NAMED, markup=False)
        return Verdict.UNSURE.value
    with tempfile.TemporaryDirectory() as folder:
        models, tree = Path(folder) / "models", Path(folder) / "base"
        tiny_onnx(models / "tiny" / VERSION / "model.onnx", input_hw=(320, 320))
        cpu_ms = measure([install(base, tree), sys.executable], models, arguments.most_rounds)
    table = Table("CPU-ms per request", base, "this tree", "ratio (95 %)", "")
    for (model, kind), (before, now) in cpu_ms.items():
        ratio = ratio_of(now, before)
        medians = (f"{median_of(side).median:.2f}" for side in (before, now))
        table.add_row(f"{model}, {kind}", *medians, str(ratio), Verdict.on(ratio).name.lower())
    console.print(table)
    verdicts = set(map(judged, cpu_ms.values()))
    verdict = next(each for each in (Verdict.FAILS, Verdict.UNSURE, Verdict.PASSES) if each in verdicts)
    if verdict is Verdict.UNSURE:
        console.print(f"too noisy to tell whether {MOST} times {base} is exceeded; try again on a quieter machine")
    return verdict.value


if __name__ == "__main__":
    sys.exit(main())
