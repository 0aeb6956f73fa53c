"""What thousands of servers do with millions of streams: how even they are, and what a rollout or a dead zone changes.

Which server each stream is at follows from the gateways' choices (benchmarks/fleet.py). Servers with as many streams
are alike, so what their frames come to is simulated once for each number of streams that occurs
(benchmarks/queueing.py), and counted as often as it does. Calls are simulated one by one. That these parts do as real
servers do is what benchmarks/measure_cluster.py has measured.

In no library for simulations: with a process for each stream, as simpy has them, a minute of a million streams at five
frames a second would be some 300 million events. Here it takes a minute or two altogether.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from arguments import at_least, positive
from fleet import Fleet
from queueing import Calls, Server, share_calls, watch
from rich.console import Console
from rich.table import Table

from detector_grpc.bench.arrivals import phases, poisson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SEED = 0
HOUR_S = 3600.0
WATCHED_S = 30.0  # of each number of streams
CALLS = 400_000
CALL_SERVERS = 40
SETTLED = 0.6  # of all calls come before they count
CALL_LOADS = (0.5, 0.7, 0.8, 0.9, 0.95, 1.2)
CANARY_WEIGHTS = (0.05, 0.25, 1.0, 1.0, 1.0, 1.0)
GATEWAYS = (1, 20, 200)
ZONES = 3
AT_ONCE = 0.05  # of all servers are replaced at once in a rollout
STEP_S = 60.0  # that it takes until they are ready


@dataclass(frozen=True)
class Cluster:
    """What is simulated.

    Attributes:
        server: Each of the servers.
        servers: How many there are.
        gateways: How many there are.
        streams: How many there are.
        fps: Frames a second of each.
        max_age_s: Seconds after which a stream moves.
    """

    server: Server
    servers: int
    gateways: int
    streams: int
    fps: float
    max_age_s: float

    @property
    def load(self) -> float:
        """Frames that come, as a share of those that the servers bear."""
        return self.streams * self.fps / (self.servers * self.server.capacity_per_s)


class State(NamedTuple):
    """How the streams are at one moment.

    Attributes:
        servers: How many are up.
        fewest: Streams of the server that has the fewest.
        most: Of the one that has the most.
        looked_at: Share of all frames that is looked at.
        worst: The same at the server that has the most streams.
        p50_s: Age of frames when they are answered, median.
        p99_s: 99th percentile of it.
    """

    servers: int
    fewest: int
    most: int
    looked_at: float
    worst: float
    p50_s: float
    p99_s: float


class Watched:
    """What a server does with so many streams: simulated once for each number."""

    def __init__(self, server: Server, fps: float) -> None:
        self._server, self._fps = server, fps
        self._known: dict[int, tuple[float, NDArray[np.float64]]] = {}

    def __call__(self, streams: int) -> tuple[float, NDArray[np.float64]]:
        """The share of frames that is looked at, and quantiles of their age, float64, in equal steps."""
        if streams not in self._known:
            starts_s = phases(streams, self._fps, seed=streams)
            frames = watch(self._server, starts_s, self._fps, WATCHED_S, np.random.default_rng(streams))
            quantiles = np.quantile(frames.age_s, np.linspace(0, 1, 201)) if len(frames.age_s) else np.empty(0)
            self._known[streams] = frames.looked_at, quantiles
        return self._known[streams]

    def state(self, streams: NDArray[np.int64]) -> State:
        """Of servers with these numbers of streams."""
        numbers, servers = np.unique(streams, return_counts=True)
        shares, quantiles = zip(*(self(number) for number in numbers.tolist()), strict=True)
        frames = numbers * servers
        looked_at = frames * np.array(shares)
        ages = np.concatenate(quantiles)
        weights = np.repeat(
            looked_at / np.maximum([len(each) for each in quantiles], 1), [len(each) for each in quantiles]
        )
        order = np.argsort(ages)
        reached = np.cumsum(weights[order]) / weights.sum()
        p50, p99 = ages[order][np.searchsorted(reached, (0.5, 0.99))]
        return State(
            len(streams), numbers[0], numbers[-1], looked_at.sum() / frames.sum(), shares[-1], float(p50), float(p99)
        )


class Moment(NamedTuple):
    """A state, and when it is."""

    when: str
    state: State


class Simulation:
    """A cluster, and what happens to it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._watched = Watched(cluster.server, cluster.fps)

    def _fleet(self, max_age_s: float, gateways: int | None = None) -> Fleet:
        cluster, rng = self._cluster, np.random.default_rng(SEED)
        return Fleet(cluster.servers, gateways or cluster.gateways, cluster.streams, rng, max_age_s)

    def _moment(self, when: str, fleet: Fleet) -> Moment:
        return Moment(when, self._watched.state(fleet.streams()))

    def begins(self) -> Iterator[Moment]:
        """All streams begin, through few and through many gateways."""
        for gateways in sorted({*GATEWAYS, self._cluster.gateways}):
            yield self._moment(f"through {gateways} gateways", self._fleet(inf, gateways))

    def rollout(self, max_age_s: float) -> Iterator[Moment]:
        """All servers are replaced, some at once, new ones first."""
        fleet, servers = self._fleet(max_age_s), self._cluster.servers
        batch = ceil(AT_ONCE * servers)
        yield self._moment("before", fleet)
        for first in range(0, servers, batch):
            old = range(first, min(first + batch, servers))
            fleet.grow_old(STEP_S)
            fleet.add(len(old))
            fleet.remove(old)
        yield self._moment("after", fleet)
        yield from self._later(fleet)

    def zone(self, max_age_s: float) -> Iterator[Moment]:
        """One zone of several dies, and comes back."""
        fleet, lost = self._fleet(max_age_s), self._cluster.servers // ZONES
        yield self._moment("before", fleet)
        fleet.remove(range(lost))
        yield self._moment("without the zone", fleet)
        fleet.add(lost)
        yield self._moment("it is back", fleet)
        yield from self._later(fleet)

    def scale_out(self, max_age_s: float) -> Iterator[Moment]:
        """A third more servers come, as an autoscaler orders them."""
        fleet = self._fleet(max_age_s)
        yield self._moment("before", fleet)
        fleet.add(self._cluster.servers // 3)
        yield self._moment("they are there", fleet)
        yield from self._later(fleet)

    def _later(self, fleet: Fleet) -> Iterator[Moment]:
        for part in (0.5, 1):
            passed_s = part * self._cluster.max_age_s
            fleet.grow_old(self._cluster.max_age_s / 2)
            yield self._moment(f"{passed_s / 60:g} minutes later", fleet)

    def calls(self, load: float, gateways: int, deadline_s: float) -> Calls:
        """Calls at a load. Servers are alike, so that forty say what thousands do."""
        servers = min(self._cluster.servers, CALL_SERVERS)
        rate_per_s = load * servers * self._cluster.server.capacity_per_s
        arrivals = poisson(rate_per_s, CALLS / rate_per_s, SEED)
        options = {"gateways": gateways, "deadline_s": deadline_s, "from_s": SETTLED * CALLS / rate_per_s}
        return share_calls(self._cluster.server, servers, arrivals, np.random.default_rng(SEED), **options)

    def canary(self, life_s: float) -> Iterator[tuple[float, float, float]]:
        """Weights of a new version rise every hour: hours, its weight, its share of the streams.

        A stream keeps its version as long as it lives, however often it moves; streams that end are followed by others.
        """
        rng = np.random.default_rng(SEED)
        is_new = np.zeros(self._cluster.streams, bool)
        for hour, weight in enumerate(CANARY_WEIGHTS):
            for _ in range(int(HOUR_S / STEP_S)):
                begun = np.flatnonzero(rng.random(len(is_new)) < -np.expm1(-STEP_S / life_s))
                is_new[begun] = rng.random(len(begun)) < weight
            yield hour + 1, weight, float(is_new.mean())


def show_streams(console: Console, title: str, moments: Iterator[Moment]) -> None:
    """The table of one scene."""
    table = Table(
        "", "servers", "streams of each", "frames looked at", "where most are", "age p50, ms", "p99, ms", title=title
    )
    for when, state in moments:
        shares = (f"{state.looked_at:.1%}", f"{state.worst:.1%}")
        ages = (f"{state.p50_s * 1e3:.0f}", f"{state.p99_s * 1e3:.0f}")
        table.add_row(when, str(state.servers), f"{state.fewest} to {state.most}", *shares, *ages)
    console.print(table)


def show_calls(console: Console, simulation: Simulation, deadline_s: float) -> None:
    """The table of calls."""
    table = Table("load", *(f"{each} gateways: p50, p99 ms, refused" for each in GATEWAYS), title="Calls")
    for load in CALL_LOADS:
        cells = []
        for gateways in GATEWAYS:
            calls = simulation.calls(load, gateways, deadline_s)
            p50, p99 = np.quantile(calls.latency_s, (0.5, 0.99)) * 1e3
            cells.append(f"{p50:.0f}, {p99:.0f}, {calls.refused_share:.1%}")
        table.add_row(f"{load:g}", *cells)
    console.print(table)


def show_canary(console: Console, simulation: Simulation, life_s: float) -> None:
    """The table of the new version's share."""
    table = Table(
        "hours", "weight", "share of the streams", title=f"A new version, streams that live {life_s / HOUR_S:g} h"
    )
    for hour, weight, share in simulation.canary(life_s):
        table.add_row(f"{hour:g}", f"{weight:.0%}", f"{share:.1%}")
    console.print(table)


def described(arguments: argparse.Namespace) -> Cluster:
    """The cluster of the command line."""
    service_s, beside_s = np.array([arguments.service_ms / 1e3]), np.array([arguments.beside_ms / 1e3])
    server = Server(arguments.workers, service_s, beside_s)
    streams = round(arguments.load * arguments.servers * server.capacity_per_s / arguments.fps)
    return Cluster(server, arguments.servers, arguments.gateways, streams, arguments.fps, arguments.max_age_s)


def main() -> None:
    """Simulates, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=at_least(ZONES), default=3000)
    parser.add_argument("--gateways", type=at_least(1), default=30)
    parser.add_argument("--workers", type=at_least(1), default=16, help="of each server")
    parser.add_argument("--service-ms", type=positive, default=20, help="that a worker takes for a picture")
    parser.add_argument("--beside-ms", type=positive, default=3, help="that a caller waits beside that")
    parser.add_argument("--fps", type=positive, default=1, help="of each stream")
    parser.add_argument("--load", type=positive, default=0.7, help="frames that come by those that servers bear")
    parser.add_argument("--max-age-s", type=positive, default=1800, help="after which streams move, where they do")
    parser.add_argument("--deadline-s", type=positive, default=1, help="that callers wait at most")
    parser.add_argument("--life-s", type=positive, default=HOUR_S, help="that streams live, mean")
    arguments = parser.parse_args()
    cluster, console = described(arguments), Console(width=130)
    console.print(
        f"{cluster.servers} servers, {cluster.gateways} gateways, {cluster.streams} streams of {cluster.fps:g} frames "
        f"a second: load {cluster.load:.2f}; streams move after {cluster.max_age_s / 60:g} minutes, or never"
    )
    simulation = Simulation(cluster)
    show_calls(console, simulation, arguments.deadline_s)
    show_streams(console, "All streams begin", simulation.begins())
    scenes = (
        ("A rollout", simulation.rollout),
        ("A zone dies", simulation.zone),
        ("Scaling out", simulation.scale_out),
    )
    for title, scene in scenes:
        show_streams(console, f"{title}, streams never move", scene(inf))
        show_streams(console, f"{title}, streams move", scene(cluster.max_age_s))
    show_canary(console, simulation, arguments.life_s)


if __name__ == "__main__":
    main()
