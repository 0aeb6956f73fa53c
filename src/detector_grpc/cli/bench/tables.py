"""What benchmarks tell people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from detector_grpc.bench.camera_report import CameraReport
    from detector_grpc.bench.overload import OverloadReport
    from detector_grpc.bench.percentiles import Percentiles
    from detector_grpc.bench.report import LoadReport
    from detector_grpc.bench.search import SearchReport, Step


def say(out: Console, text: str) -> None:
    """Prints a sentence."""
    out.print(text, highlight=False, soft_wrap=True)


def show_load(out: Console, report: LoadReport) -> None:
    """Prints one load."""
    if report.cut_short:
        say(out, f"[yellow]Cut short[/] after {report.seconds:.1f} s, with {report.unanswered} calls unanswered")
    say(out, f"{report.calls} calls in {report.seconds:.1f} s: {report.calls_per_s:.1f} per second")
    say(out, f"{report.answered} answered: {report.answered_per_s:.1f} per second")
    in_time = report.answered - report.late
    say(out, f"{in_time} answered within {report.deadline_ms:g} ms: {report.goodput_per_s:.1f} per second")
    show_failed(out, "calls", report.failed)
    show_durations(out, {"latency": report.latency, "of refusals": report.refused, "sent late by": report.lateness})
    show_generator(out, report.cpu_ms_per_call, "call", report.warnings)


def show_cameras(out: Console, report: CameraReport) -> None:
    """Prints what became of cameras."""
    if report.cut_short:
        say(out, f"[yellow]Cut short[/] after {report.seconds:.1f} s")
    share = report.looked_at / max(report.frames, 1)
    say(
        out,
        f"{report.frames} frames of {report.cameras} cameras at {report.fps:g} per second, in {report.seconds:.1f} s",
    )
    say(out, f"{report.looked_at} looked at ({share:.0%}): {report.looked_at_per_s:.1f} per second")
    if report.dropped:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.dropped.items())
        say(out, f"{sum(report.dropped.values())} dropped: {reasons}")
    if report.unsent:
        say(out, f"[red]{report.unsent} not sent:[/] there was no stream")
    say(out, f"{report.unanswered} never answered")
    show_failed(out, "frames", report.failed)
    show_failed(out, "streams", report.streams_failed)
    if report.first_failed_at_s is not None:
        first = "in the warm-up" if report.first_failed_at_s < 0 else f"after {report.first_failed_at_s:.1f} s"
        say(out, f"The first of these failed {first}; {report.streams_reopened} were opened again")
    show_durations(
        out,
        {
            "age": report.age,
            "at the server": report.age_at_server,
            "jitter": report.jitter,
            "sent late by": report.lateness,
        },
    )
    if report.share is not None:
        least, most = min(report.share.looked_at), max(report.share.looked_at)
        ratio = f"{report.share.smallest_to_largest:.2f}, Jain's index {report.share.jain:.3f}"
        say(out, f"Looked at of each camera: {least} to {most} frames, smallest to largest {ratio}")
    show_generator(out, report.cpu_ms_per_frame, "frame", report.warnings)


def step_line(step: Step, bound_ms: float) -> str:
    """One rate of a search, in a line."""
    verdict = "[green]within[/]" if step.within else "[red]beyond[/]"
    stopped = f", given up after {step.load.seconds:.1f} s" if step.load.cut_short else ""
    p99 = "nothing answered" if step.load.latency is None else f"p99 {ms(step.load.latency.p99_ms)} ms"
    again = " again" if step.confirms else ""
    failed = "".join(f", {count} {escape(name)}" for name, count in step.load.failed.items())
    return f"{step.rate_per_s:7.1f} per second{again}: {p99}{failed}, {verdict} {bound_ms:g} ms{stopped}"


def show_search(out: Console, report: SearchReport) -> None:
    """Prints the rates that were tried, lowest first, and the one that was found."""
    if report.cut_short:
        say(out, "[yellow]Cut short[/]: what follows is what is known so far")
    table = plain_table("", "per second", "calls", "failed", "p50", "p99", "95 % interval", "s")
    for step in sorted(report.steps, key=lambda step: (step.rate_per_s, step.confirms)):
        load, of = step.load, step.load.latency
        figures = (ms(of.p50_ms), ms(of.p99_ms), between(of)) if of else ("",) * 3
        table.add_row(
            ("[green]within[/]" if step.within else "[red]beyond[/]") + (" again" if step.confirms else ""),
            f"{step.rate_per_s:.1f}",
            str(load.calls),
            str(sum(load.failed.values())),
            *figures,
            f"{load.seconds:.1f}",
        )
    if not report.steps:
        return
    out.print(table)
    bound = f"a p99 of at most {report.p99_bound_ms:g} ms"
    if report.highest_per_s is None:
        say(out, f"[red]No rate[/] that was tried has {bound}; a lower --from-rate may")
        show_warnings(out, report.warnings)
        return
    found = "no higher rate was tried" if report.found_to is None else f"found to {report.found_to * 100:.3g} %"
    how = "confirmed" if report.confirmed else "[yellow]not confirmed[/]"
    say(out, f"[bold]{report.highest_per_s:.1f} per second[/] have {bound}; {found}, {how}")
    best = next(step for step in reversed(report.steps) if step.rate_per_s == report.highest_per_s)
    show_generator(out, best.load.cpu_ms_per_call, "call", report.warnings)


def show_overload(out: Console, report: OverloadReport) -> None:
    """Prints the capacity, and what was left of it."""
    if report.cut_short:
        say(out, "[yellow]Cut short[/]: what follows is what is known so far")
    say(out, f"Capacity, {report.clients} clients: [bold]{report.capacity_per_s:.1f} per second[/]")
    columns = [f"{run.times:g} times" for run in report.multiples]
    table = plain_table("", f"{report.clients} clients", *columns)
    loads = [report.capacity, *(run.load for run in report.multiples)]
    to_capacity = (f"{run.goodput_to_capacity:.2f}" for run in report.multiples)
    to_rest = (f"{run.goodput_to_rest:.2f}" for run in report.multiples)
    table.add_row("calls per second", *(f"{load.calls_per_s:.1f}" for load in loads))
    table.add_row(
        f"goodput, within {report.capacity.deadline_ms:g} ms", *(f"{load.goodput_per_s:.1f}" for load in loads)
    )
    table.add_row("goodput / capacity", "", *to_capacity)
    table.add_row("  less what the generator takes", "", *to_rest)
    table.add_row("answered late", *(str(load.late) for load in loads))
    table.add_row("failed", *(str(sum(load.failed.values())) for load in loads))
    for name in dict.fromkeys(name for load in loads for name in load.failed):
        table.add_row(
            f"  {escape(name.rpartition('(')[2].removesuffix(')'))}", *(str(load.failed.get(name, 0)) for load in loads)
        )
    for name, durations in (
        ("answered, ms", [load.latency for load in loads]),
        ("refused, ms", [load.refused for load in loads]),
        ("told to wait, ms", [load.retry_after for load in loads]),
        ("sent late by, ms", [load.lateness for load in loads]),
    ):
        table.add_row(f"{name}: p50", *(ms(of.p50_ms if of else None) for of in durations))
        table.add_row("  p99", *(ms(of.p99_ms if of else None) for of in durations))
    table.add_row("generator, CPU-ms per call", *(f"{load.cpu_ms_per_call:.2f}" for load in loads))
    table.add_row(f"  of {report.processors} processors", *(f"{load.generator_processors:.2f}" for load in loads))
    out.print(table)
    for load, name in zip(loads, [f"{report.clients} clients", *columns], strict=True):
        for warning in load.warnings:
            say(out, f"[yellow]Beware:[/] {name}: {escape(warning)}")


def show_failed(out: Console, what: str, failed: Mapping[str, int]) -> None:
    """Prints how many failed, and how; nothing if none did."""
    if failed:
        counts = ", ".join(f"{escape(name)} {count}" for name, count in failed.items())
        say(out, f"[red]{sum(failed.values())} {what} failed:[/] {counts}")


def show_durations(out: Console, rows: Mapping[str, Percentiles | None]) -> None:
    """Prints percentiles, a row for each that is known, with the interval of the 99th."""
    names = ("count", "mean", "p50", "p90", "p99", "95 % interval", "p99.9", "max")
    table = plain_table("ms", *names)
    for name, of in rows.items():
        if of is not None:
            values = map(ms, (of.mean_ms, of.p50_ms, of.p90_ms, of.p99_ms))
            table.add_row(name, str(of.count), *values, between(of), ms(of.p99_9_ms), ms(of.max_ms))
    if table.row_count:
        out.print(table)


def show_generator(out: Console, cpu_ms: float, per: str, warnings: Sequence[str]) -> None:
    """Prints what concerns the generator."""
    if cpu_ms:
        say(out, f"Generator: {cpu_ms:.2f} ms of CPU per {per}")
    show_warnings(out, warnings)


def show_warnings(out: Console, warnings: Sequence[str]) -> None:
    """Prints why figures are not what they seem."""
    for warning in warnings:
        say(out, f"[yellow]Beware:[/] {escape(warning)}")


def plain_table(first: str, *numbers: str) -> Table:
    """A table of names and numbers that leaves the most room."""
    columns = (Column(name, justify="right", no_wrap=True) for name in numbers)
    return Table(first, *columns, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def ms(value: float | None) -> str:
    """A duration to three digits or so."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - digits


def between(of: Percentiles) -> str:
    """The interval of the 99th percentile."""
    return f"{ms(of.p99_low_ms) or '?'} to {ms(of.p99_high_ms) or '?'}"
