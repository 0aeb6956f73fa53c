"""The metrics of all server processes as if they were those of one.

Counters, and the buckets, counts and sums of histograms, are added up, and so are the gauges of SUMMED_GAUGES. Every
other gauge is shown for each process, with the label `server`: a sum of start times says nothing, and a gauge that is
not known here may be of that kind.

No counter falls because a server does: what the processes at an address have counted stays in the sum when one of them
cannot be reached, or has been replaced by one that begins at 0. Else Prometheus would take the rest for a restart, and
count all of it once more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A process that takes longer to answer is counted as one that does not.
SCRAPE_TIMEOUT_S = 2.0

SUMMED_GAUGES = frozenset(
    {
        "active_learning_spool_bytes",
        "active_learning_spool_samples",
        "data_drift_feature_evidence",  # as the next ones, of one process alone
        "data_drift_feature_ratio",
        "data_drift_groups",
        "data_drift_state",
        "data_drift_stored",
        "object_detection_execution_provider",  # 1 in each process, so the number of processes
        "object_detection_queue_depth",
        "object_detection_streams",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
    }
)
SUMMED_TYPES = frozenset({"counter", "histogram"})

Labels = tuple[tuple[str, str], ...]


class Series(NamedTuple):
    """One line of the text: name of its family, its own name, which may be longer, and its labels."""

    family: str
    name: str
    labels: Labels


class SummedMetrics:
    """Asks all processes, and adds up.

    Args:
        addresses: "host:port" of each process's metrics.
        session: Opens connections.
    """

    def __init__(self, addresses: Sequence[str], session: aiohttp.ClientSession) -> None:
        self._addresses = addresses
        self._session = session
        self._processes = {address: _Counted() for address in addresses}
        self._families: dict[str, Metric] = {}

    async def text(self) -> bytes:
        """The metrics of this moment in Prometheus' text format. To be asked for by one at a time."""
        texts = await asyncio.gather(*(self._scrape(address) for address in self._addresses))
        return await asyncio.to_thread(self._sum, dict(zip(self._addresses, texts, strict=True)))

    async def _scrape(self, address: str) -> str | None:
        """The text of one process; None if there is none."""
        timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
        try:
            async with self._session.get(f"http://{address}/metrics", timeout=timeout) as response:
                return await response.text() if response.ok else None
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return None

    def _sum(self, texts: Mapping[str, str | None]) -> bytes:
        up = GaugeMetricFamily("object_detection_server_up", "Whether a process tells its metrics", labels=["server"])
        gauges: defaultdict[Series, float] = defaultdict(float)
        for address, text in texts.items():
            families = _parse(text)
            up.add_metric([address], families is not None)
            counts: dict[Series, float] = {}
            for family in families or ():
                self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for series, value in _series(family):
                    if family.type in SUMMED_TYPES:
                        counts[series] = value
                    elif family.name in SUMMED_GAUGES:
                        gauges[series] += value
                    else:
                        gauges[series._replace(labels=(*series.labels, ("server", address)))] = value
            if families is not None:
                self._processes[address].update(counts)
        sums = gauges
        for process in self._processes.values():
            for series, value in process.total():
                sums[series] += value
        return generate_latest(_Collected([up, *_filled(self._families, sums)]))


class _Counted:
    """What the processes at one address have counted, one after another."""

    def __init__(self) -> None:
        self._before: defaultdict[Series, float] = defaultdict(float)
        self._now: dict[Series, float] = {}

    def update(self, counts: dict[Series, float]) -> None:
        if any(counts.get(series, 0) < value for series, value in self._now.items()):  # another process
            for series, value in self._now.items():
                self._before[series] += value
        self._now = counts

    def total(self) -> Iterator[tuple[Series, float]]:
        for series in self._before | self._now:
            yield series, self._before.get(series, 0) + self._now.get(series, 0)


class _Collected:
    """Metrics as generate_latest wants them."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _parse(text: str | None) -> list[Metric] | None:
    """The families of a text; None if it is no such text. When a series was created is nothing that adds up."""
    try:
        return (
            None
            if text is None
            else [each for each in text_string_to_metric_families(text) if not each.name.endswith("_created")]
        )
    except ValueError:
        return None


def _series(family: Metric) -> Iterator[tuple[Series, float]]:
    for sample in family.samples:
        yield Series(family.name, sample.name, tuple(sorted(sample.labels.items()))), sample.value


def _filled(families: Mapping[str, Metric], values: Mapping[Series, float]) -> list[Metric]:
    """Families with these values, without those that have none."""
    filled = {name: Metric(name, family.documentation, family.type) for name, family in families.items()}
    for series, value in values.items():
        filled[series.family].add_sample(series.name, dict(series.labels), value)
    return [family for family in filled.values() if family.samples]
