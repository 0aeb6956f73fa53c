"""What the servers that are compared came to, as values that are kept as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector_grpc.bench.overload import left_by_generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Load:
    """One load on one server.

    Attributes:
        clients: Of a closed loop; 0 for an open one.
        calls_per_s: That were made.
        answers_per_s: In time.
        p50_ms: Latency of the answered ones; 0 without any; the other likewise.
        p99_ms: As above.
        failed: Calls without an answer.
        cpu_ms: CPU time of the server for each answer; None where it was not measured.
        generator_cpu_ms: CPU time of the generator for each call.
    """

    clients: int
    calls_per_s: float
    answers_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_ms: float | None
    generator_cpu_ms: float

    @property
    def generator_processors(self) -> float:
        """Processors that the generator kept busy."""
        return self.calls_per_s * self.generator_cpu_ms / 1e3


@dataclass(frozen=True)
class Round:
    """What one server did in one round.

    Attributes:
        start_s: From its start to its first answer.
        memory_mib: After the closed loops (proportional set size).
        closed: Closed loops, by rising number of clients.
        equal: Open loops at rates that are the same for all servers.
        overload: The open loop of too much.
        afterwards_s: CPU time that it took in the two seconds after the last of those callers had left.
    """

    start_s: float
    memory_mib: float
    closed: Sequence[Load]
    equal: Sequence[Load]
    overload: Load
    afterwards_s: float

    @property
    def capacity(self) -> Load:
        """The closed loop that got most answers."""
        return max(self.closed, key=lambda load: load.answers_per_s)

    @property
    def goodput_share(self) -> float:
        """What is left of the capacity under overload."""
        return self.overload.answers_per_s / self.capacity.answers_per_s

    def goodput_share_of_rest(self, processors: int) -> float:
        """The same, where what the generator now takes of the processors is taken off the capacity."""
        generators = self.capacity.generator_processors, self.overload.generator_processors
        return self.goodput_share / left_by_generator(*generators, processors)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Round:
        """From JSON."""

        def loads(name: str) -> tuple[Load, ...]:
            return tuple(Load(**each) for each in values[name])

        return cls(
            **{
                **values,
                "closed": loads("closed"),
                "equal": loads("equal"),
                "overload": Load(**values["overload"]),
            }
        )


@dataclass(frozen=True)
class Comparison:
    """All rounds of all servers.

    Attributes:
        model: Model and version.
        when: Date.
        machine: Hardware and system, in words.
        processors: Those that servers and callers shared.
        versions: What was installed, by name.
        picture: The picture, in words.
        times: The overload, as a multiple of what the bare loop did.
        deadline_ms: How long its callers waited.
        settings: Of each server, in words.
        bare: What the bare loop came to, by round.
        rounds: By server.
    """

    model: str
    when: str
    machine: str
    processors: int
    versions: dict[str, str]
    picture: str
    times: float
    deadline_ms: float
    settings: dict[str, str]
    bare: Sequence[dict[str, float]]
    rounds: dict[str, Sequence[Round]]

    def write(self) -> None:
        """Keeps it, in the place of what was measured with the same model before."""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def kept(cls) -> Iterator[Comparison]:
        """All that were kept."""
        for file in sorted(RESULTS.glob("peers-*.json")):
            values = json.loads(file.read_text())
            rounds = {name: tuple(map(Round.read, each)) for name, each in values["rounds"].items()}
            yield cls(**{**values, "rounds": rounds})

    @property
    def name(self) -> str:
        """That of its files, without what they end with."""
        return f"peers-{self.model.replace(' ', '-')}"

    def whole(self) -> dict[str, Sequence[Round]]:
        """The servers that differ not only under overload."""
        return {name: rounds for name, rounds in self.rounds.items() if rounds[0].equal}

    def added_ms(self, rounds: Sequence[Round]) -> list[float]:
        """CPU for each picture beyond that of the bare loop of the same round, where all processors have work."""
        return [
            statistics.mean(load.cpu_ms for load in each.closed if load.clients > 1) - bare["cpu_ms"]
            for each, bare in zip(rounds, self.bare, strict=True)
        ]
