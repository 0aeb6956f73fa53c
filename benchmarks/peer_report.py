"""What the servers that are compared came to, as tables and plots in docs/benchmarks.md."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from peer_results import Comparison

from detector_grpc.figures import import_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from peer_results import Round

DOCS = Path(__file__).parents[1] / "docs"
PAGE, IMAGES = DOCS / "benchmarks.md", DOCS / "images"
BEGIN, END = "<!-- peers: written by benchmarks/peers.py -->", "<!-- peers: end -->"
EXTRA = "bench"

# What is so many times as good is said to be at least that.
MOST_TIMES = 100.0


def publish() -> None:
    """Writes the part of the page that is between the marks, and its plots, from what was kept."""
    import_figure(EXTRA)
    import matplotlib as mpl  # noqa: PLC0415 - as in figures.py

    IMAGES.mkdir(exist_ok=True)
    comparisons = list(Comparison.kept())
    for each in comparisons:
        with mpl.rc_context({"svg.hashsalt": each.name, "svg.fonttype": "none"}):  # the same figures, the same file
            plot(each).savefig(IMAGES / f"{each.name}.svg", metadata={"Date": None})
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(
        "\n".join([f"{before}{BEGIN}", *(line for each in comparisons for line in text(each)), END]) + after
    )


def text(comparison: Comparison) -> list[str]:
    """Conditions, plot and tables, in Markdown."""
    installed = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    rate, cpu_ms = (_of([each[name] for each in comparison.bare], 2) for name in ("pictures_per_s", "cpu_ms"))
    rounds = (
        f"Rounds: {len(comparison.bare)}; medians, and quartiles in brackets. A bare loop looks at {rate} pictures a "
        f"second, and takes {cpu_ms} ms of CPU for each."
    )
    return [
        "",
        f"### Serving {comparison.model}",
        "",
        f"{comparison.when}; {comparison.machine}; {installed}. {comparison.picture}.",
        "",
        rounds,
        "",
        f"![CPU, latency and goodput](images/{comparison.name}.svg)",
        "",
        *(f"- **{name}**: {settings}." for name, settings in comparison.settings.items()),
        "",
        *_costs(comparison),
        "",
        *_overload(comparison),
        "",
    ]


def plot(comparison: Comparison) -> Figure:
    """What serving costs, how long callers wait, and what is left under overload."""
    figure: Figure = import_figure(EXTRA)(figsize=(13, 4), layout="constrained")
    costs, latency, goodput = figure.subplots(1, 3)
    added = {name: _spread(comparison.added_ms(rounds)) for name, rounds in comparison.whole().items()}
    _bars(costs, "CPU beyond the bare loop, ms a picture", added)
    for name, rounds in comparison.whole().items():
        loads = list(zip(*(each.equal for each in rounds), strict=True))
        rates = [statistics.median(load.calls_per_s for load in each) for each in loads]
        latency.plot(rates, [statistics.median(load.p99_ms for load in each) for each in loads], "o-", label=name)
    latency.set(title="p99 of the latency, ms", xlabel="calls a second", xlim=(0, None), yscale="log")
    latency.yaxis.set_major_formatter("{x:g}")
    latency.yaxis.set_minor_formatter("{x:g}")
    latency.legend()
    shares = {name: _spread([each.goodput_share for each in rounds]) for name, rounds in comparison.rounds.items()}
    _bars(goodput, "goodput / capacity under overload", shares)
    for axes in (costs, latency, goodput):
        axes.grid(alpha=0.3)
    return figure


def _costs(comparison: Comparison) -> list[str]:
    servers = comparison.whole()
    first = next(iter(servers.values()))[0]
    rows: list[tuple[str, Callable[[Sequence[Round]], str]]] = [
        ("start to first answer, s", lambda rounds: _of([each.start_s for each in rounds], 1)),
        ("memory, MiB", lambda rounds: _of([each.memory_mib for each in rounds], 0)),
        ("CPU beyond the bare loop, ms a picture", lambda rounds: _of(comparison.added_ms(rounds), 2)),
    ]
    for number, load in enumerate(first.closed):
        clients = f"{load.clients} client{'s' * (load.clients > 1)}"
        rows += [
            (f"{clients}: answers a second", _cell("closed", number, "answers_per_s", 1)),
            (f"{clients}: p50, ms", _cell("closed", number, "p50_ms", 1)),
            (f"{clients}: p99, ms", _cell("closed", number, "p99_ms", 1)),
            (f"{clients}: CPU, ms a picture", _cell("closed", number, "cpu_ms", 2)),
            (f"{clients}: CPU of the callers, ms a picture", _cell("closed", number, "generator_cpu_ms", 2)),
        ]
    for number, load in enumerate(first.equal):
        rate = f"{load.calls_per_s:.0f} calls a second"
        rows += [
            (f"{rate}: p50, ms", _cell("equal", number, "p50_ms", 1)),
            (f"{rate}: p99, ms", _cell("equal", number, "p99_ms", 1)),
        ]
    return _table(["", *servers], [[label, *map(cell, servers.values())] for label, cell in rows])


def _overload(comparison: Comparison) -> list[str]:
    ours = next(iter(comparison.rounds.values()))
    rows = []
    for name, rounds in comparison.rounds.items():
        times = [
            min(own.overload.answers_per_s / max(each.overload.answers_per_s, 1e-9), MOST_TIMES)
            for own, each in zip(ours, rounds, strict=True)
        ]
        rows.append(
            [
                name,
                _of([each.capacity.answers_per_s for each in rounds], 1),
                _of([each.overload.answers_per_s for each in rounds], 1),
                _of([each.goodput_share for each in rounds], 2),
                _of([each.goodput_share_of_rest(comparison.processors) for each in rounds], 2),
                _of([each.overload.generator_cpu_ms for each in rounds], 2),
                f"{MOST_TIMES:g} or more" if statistics.median(times) == MOST_TIMES else _of(times, 2),
                _of([each.afterwards_s for each in rounds], 2),
            ]
        )
    told = (
        f"At {comparison.times:g} times what the bare loop does, with callers who leave after "
        f"{comparison.deadline_ms:g} ms. Goodput is what is answered by then, once the overload has lasted twice as "
        "long; capacity the most that the server got in any closed loop of the same round, and what the callers leave "
        "of it is less what they take of the processors beyond what they took then. Afterwards is the two seconds "
        "after all have left:"
    )
    header = [
        "",
        "capacity, 1/s",
        "goodput, 1/s",
        "goodput / capacity",
        "of what the callers leave",
        "CPU of the callers, ms a call",
        "ours / theirs",
        "CPU afterwards, s",
    ]
    return [told, "", *_table(header, rows)]


def _cell(of: str, number: int, name: str, digits: int) -> Callable[[Sequence[Round]], str]:
    """What a load of this number came to."""
    return lambda rounds: _of([getattr(getattr(each, of)[number], name) for each in rounds], digits)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _of(values: Sequence[float], digits: int) -> str:
    """The median, and the quartiles in brackets."""
    lower, median, upper = _spread(values)
    return f"{median:.{digits}f} ({lower:.{digits}f} to {upper:.{digits}f})"


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, median, upper


def _bars(axes: Axes, title: str, spreads: dict[str, tuple[float, float, float]]) -> None:
    """A bar for each median, with its quartiles."""
    medians = [median for _, median, _ in spreads.values()]
    below = [median - lower for lower, median, _ in spreads.values()]
    above = [upper - median for _, median, upper in spreads.values()]
    axes.barh(list(spreads), medians, xerr=[below, above], capsize=3)
    axes.invert_yaxis()
    axes.set(title=title)
