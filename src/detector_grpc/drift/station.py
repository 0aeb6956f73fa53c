"""What watches: takes observations in, keeps what it knows on disk, says how things are, and changes references."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.drift import reference_file
from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.features import NAMES
from detector_grpc.drift.reference import Reference, of_blocks
from detector_grpc.drift.status import SeriesStatus, status
from detector_grpc.errors import NotWatched, ReferenceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from detector_grpc.drift.keeper import Keeper
    from detector_grpc.drift.monitor import Monitor, VersionMonitor
    from detector_grpc.drift.observation import Observation, Watched
    from detector_grpc.drift.series import Series

log = logging.getLogger(__name__)

_MAX_GROUPS_TOLD = 50
_TELLING = (DriftState.WARNING, DriftState.DRIFTED)


class VersionStatus(NamedTuple):
    """One version.

    Attributes:
        watched: Its name.
        digest: Digest of its model file.
        series: All of its observations.
        reference: What they are compared with.
        groups: Groups of streams that are WARNING or DRIFTED by name, the most drifted first; a bounded number.
        group_states: Number of groups by state.
        lost: Observations that did not count since the process began, by reason.
        stored: Whether all of it is on disk.
    """

    watched: Watched
    digest: str
    series: SeriesStatus
    reference: Reference | None
    groups: list[tuple[str, SeriesStatus]]
    group_states: Counter[DriftState]
    lost: Counter[str]
    stored: bool


class ReportSource(NamedTuple):
    """What is shown of a version.

    Attributes:
        watched: Its name.
        blocks: How many blocks there have been.
        reference: float32 (M, F), observations that count now.
        current: float32 (N, F), those of late.
        allowed: float64 (F,), the distance that is no surprise; NaN of what cannot be compared.
    """

    watched: Watched
    blocks: int
    reference: NDArray[np.float32]
    current: NDArray[np.float32]
    allowed: NDArray[np.float64]


class Station:
    """Several threads may use it at once.

    Args:
        monitor: What is watched.
        keeper: Keeps it.
        needed: Observations that a reference must have.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        monitor: Monitor,
        keeper: Keeper,
        needed: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._monitor = monitor
        self._keeper = keeper
        self._needed = needed
        self._clock = clock
        self._lock = threading.Lock()
        self.lost: dict[Watched, Counter[str]] = {}
        self.alarms: Counter[Watched] = Counter()

    @property
    def stored(self) -> bool:
        """Whether all of it is on disk."""
        return self._keeper.stored

    def take(self, watched: Watched, digest: str, observations: Sequence[Observation], lost: int = 0) -> int:
        """Takes a batch in, and says how many of its observations count.

        Args:
            watched: The version.
            digest: Of its model file.
            observations: In the order in which they were made.
            lost: How many more there were, which could not be sent.

        Raises:
            ValueError: They have another number of features.
        """
        with self._lock:
            before = self._monitor.versions.get(watched)
            state = before.series.state if before else DriftState.LEARNING
            refused = self._monitor.add(watched, digest, observations, self._clock())
            version = self._monitor.versions.get(watched)
            if version is not None:
                self.lost.setdefault(watched, Counter()).update({**refused, "undelivered": lost})
                if before not in (None, version):
                    self._keeper.forget(watched)
                self._keeper.write(watched)
                self._tell(watched, version.series, state)
            return len(observations) - sum(refused.values())

    def statuses(self, model: str = "", version: str = "") -> list[VersionStatus]:
        """How the versions of these names are, all of them where a name is empty; sorted.

        Raises:
            NotWatched: There is none of these names.
        """
        with self._lock:
            chosen = sorted(w for w in self._monitor.versions if model in ("", w.model) and version in ("", w.version))
            if not chosen and (model or version):
                raise self._not_watched(model, version)
            return [self._status(each) for each in chosen]

    def only(self, model: str, version: str) -> Watched:
        """The version of these names, of which an empty one fits all.

        Raises:
            NotWatched: There is none, or more than one.
        """
        with self._lock:
            chosen = [w for w in self._monitor.versions if model in ("", w.model) and version in ("", w.version)]
            if len(chosen) != 1:
                raise self._not_watched(model, version)
            return chosen[0]

    def report_sources(self) -> list[ReportSource]:
        """What there is to be shown of every version that has been compared."""
        with self._lock:
            now_s = self._clock()
            sources = (self._report_source(each, now_s) for each in sorted(self._monitor.versions))
            return [source for source in sources if source is not None]

    def use_recent(self, watched: Watched, caller: str) -> tuple[Reference | None, Reference | None]:
        """Makes observations of late the reference: those since the world changed, if it has.

        Returns:
            The new reference, and the one before.

        Raises:
            NotWatched: The version is not watched.
            ReferenceInvalid: There are too few of them.
        """
        with self._lock:
            series = self._find(watched).series
            blocks = [b for b in series.window if series.state not in _TELLING or b.at_s >= series.since_s]
            reference_file.check(blocks, self._needed)
            reference = Reference(blocks, f"{of_blocks(blocks)} observations of late", self._clock())
            return self._use(watched, reference, caller)

    def use_file(self, watched: Watched, text: str, caller: str) -> tuple[Reference | None, Reference | None]:
        """Makes the one reference of a file that of a version, whosever it was; see `use_recent`."""
        kept = reference_file.from_json(text, self._needed)
        if len(kept) != 1:
            raise ReferenceInvalid(f"the file must hold one reference, there are {len(kept)}")
        with self._lock:
            if watched not in self._monitor.versions:  # it may be there before the first picture
                self._monitor.begin(watched, "")
            return self._use(watched, kept[0].reference, caller)

    def use_past(self, watched: Watched, number: int, caller: str) -> tuple[Reference | None, Reference | None]:
        """Goes back to a reference that the version had; see `use_recent`."""
        with self._lock:
            self._find(watched)
            past = self._keeper.past(watched)
            if number not in past:
                raise ReferenceInvalid(f"there is no reference {number} of this version, see ListReferences")
            return self._use(watched, past[number], caller)

    def learn(self, watched: Watched, caller: str) -> tuple[Reference | None, Reference | None]:
        """Forgets the reference; see `use_recent`."""
        with self._lock:
            return self._use(watched, None, caller)

    def past(self, watched: Watched) -> dict[int, Reference]:
        """The references that a version had, by number, the latest first.

        Raises:
            NotWatched: The version is not watched.
        """
        with self._lock:
            self._find(watched)
            return self._keeper.past(watched)

    def _use(
        self, watched: Watched, reference: Reference | None, caller: str
    ) -> tuple[Reference | None, Reference | None]:
        version = self._find(watched)
        before = version.series.reference
        if reference is None:
            version.series.learn()
        else:
            version.series.use(reference)
        self._keeper.write(watched)
        self._keeper.audit(watched, caller, before, reference)
        return reference, before

    def _tell(self, watched: Watched, series: Series, before: DriftState) -> None:
        """Says and counts that a version has become DRIFTED."""
        if series.state is DriftState.DRIFTED and before is not DriftState.DRIFTED:
            self.alarms[watched] += 1
            words = [each.words for each in status(series, self._clock()).features[:3]]
            log.warning("the world has changed", extra={**watched._asdict(), "because": words})

    def _status(self, watched: Watched) -> VersionStatus:
        version, now_s = self._monitor.versions[watched], self._clock()
        telling = [(name, series) for name, series in version.groups.items() if series.state in _TELLING]
        told = [(name, status(series, now_s)) for name, series in telling]
        told.sort(key=lambda each: (each[1].state is not DriftState.DRIFTED, -_most_evidence(each[1]), each[0]))
        return VersionStatus(
            watched,
            version.digest,
            status(version.series, now_s),
            version.series.reference,
            told[:_MAX_GROUPS_TOLD],
            Counter(series.state for series in version.groups.values()),
            self.lost.get(watched, Counter()),
            self.stored,
        )

    def _report_source(self, watched: Watched, now_s: float) -> ReportSource | None:
        series = self._monitor.versions[watched].series
        if series.reference is None or not series.deviations:
            return None
        reference, current = (
            np.concatenate([block.values for block in blocks])
            for blocks in (series.reference.near(now_s), series.recent)
        )
        deviations = series.deviations
        allowed = [deviations[name].allowed if name in deviations else math.nan for name in NAMES]
        return ReportSource(watched, series.blocks, reference, current, np.array(allowed))

    def _find(self, watched: Watched) -> VersionMonitor:
        version = self._monitor.versions.get(watched)
        if version is None:
            raise self._not_watched(*watched)
        return version

    def _not_watched(self, model: str, version: str) -> NotWatched:
        return NotWatched(model, version, sorted(f"{w.model}/{w.version}" for w in self._monitor.versions))


def _most_evidence(of: SeriesStatus) -> float:
    return max((each.evidence for each in of.features), default=0.0)
