"""What watches: takes observations in, keeps what it knows on disk, says how things are, and changes references."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.drift import reference_file
from detector_grpc.drift.audit import LEARNED, NEW_FILE
from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.reference import NEEDED, Reference, Summary, of_blocks, summary
from detector_grpc.drift.report_source import ReportSource
from detector_grpc.drift.status import View
from detector_grpc.drift.version_status import VersionStatus, VersionView
from detector_grpc.errors import NotWatched, ReferenceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector_grpc.drift.keeper import Keeper
    from detector_grpc.drift.monitor import Monitor, VersionMonitor
    from detector_grpc.drift.observation import Observation, Watched

log = logging.getLogger(__name__)


class Change(NamedTuple):
    """Of a reference.

    Attributes:
        now: What is compared with from now on; None while it is learned.
        before: What was compared with before; None if it was being learned.
    """

    now: Summary | None
    before: Summary | None


class Station:
    """Several threads may use it at once.

    Args:
        monitor: What is watched.
        keeper: Keeps it.
        needed: Observations that a reference must have.
        clock: Seconds since the epoch.

    Attributes:
        alarms: How often each version has become DRIFTED since the process began.
        turned_away: Observations of versions for which there was no room, since the process began.
    """

    def __init__(
        self, monitor: Monitor, keeper: Keeper, needed: int = NEEDED, clock: Callable[[], float] = time.time
    ) -> None:
        self._monitor = monitor
        self._keeper = keeper
        self._needed = needed
        self._clock = clock
        self._lock = threading.Lock()
        self._lost: dict[Watched, Counter[str]] = {}
        self.alarms: Counter[Watched] = Counter()
        self.turned_away = 0

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
            reference = before.series.reference if before else None
            refused = self._monitor.add(watched, digest, observations, self._clock())
            version = self._monitor.versions.get(watched)
            if version is None:
                self._turn_away(watched, len(observations) + lost)
                return 0
            self._lost.setdefault(watched, Counter()).update({**refused, "undelivered": lost})
            if version.series.reference is reference:
                self._keeper.write(watched)
            else:
                self._keeper.changed(watched, LEARNED if before in (None, version) else NEW_FILE, reference)
            if version.series.state is DriftState.DRIFTED and state is not DriftState.DRIFTED:
                self._alarm(watched, version)
            return len(observations) - sum(refused.values())

    def views(self, model: str = "", version: str = "") -> list[VersionView]:
        """The versions of these names as they are now, all of them where a name is empty; sorted.

        Raises:
            NotWatched: There is none of these names.
        """
        with self._lock:
            chosen = self._named(model, version)
            if not chosen and (model or version):
                raise self._not_watched(model, version)
            versions, now_s = self._monitor.versions, self._clock()
            return [VersionView.of(each, versions[each], self._lost.get(each, Counter()), now_s) for each in chosen]

    def statuses(self, model: str = "", version: str = "") -> list[VersionStatus]:
        """What there is to say of these versions; see `views`."""
        return [view.status() for view in self.views(model, version)]

    def only(self, model: str, version: str) -> Watched:
        """The version of these names, of which an empty one fits all.

        Raises:
            NotWatched: There is none, or more than one.
        """
        with self._lock:
            chosen = self._named(model, version)
            if len(chosen) != 1:
                raise self._not_watched(model, version)
            return chosen[0]

    def report_sources(self) -> list[ReportSource]:
        """What there is to be shown of every version that has been compared."""
        with self._lock:
            now_s = self._clock()
            sources = (
                ReportSource.of(watched, version.series, now_s)
                for watched, version in sorted(self._monitor.versions.items())
            )
            return [source for source in sources if source is not None]

    def use_recent(self, watched: Watched, caller: str) -> Change:
        """Makes observations of late the reference: those since the world changed, if it has.

        Raises:
            NotWatched: The version is not watched.
            ReferenceInvalid: There are too few of them.
        """
        with self._lock:
            blocks = self._find(watched).series.like_now
            reference_file.check(blocks, self._needed)
            reference = Reference(blocks, f"{of_blocks(blocks)} observations of late", self._clock())
            return self._use(watched, reference, caller)

    def use_file(self, watched: Watched, text: str, caller: str) -> Change:
        """Makes the one reference of a file that of a version, whosever it was; see `use_recent`."""
        kept = reference_file.from_json(text, self._needed)
        if len(kept) != 1:
            raise ReferenceInvalid(f"the file must hold one reference, there are {len(kept)}")
        with self._lock:
            if watched not in self._monitor.versions:  # it may be there before the first picture
                self._monitor.begin(watched, "")
            return self._use(watched, kept[0].reference, caller)

    def use_past(self, watched: Watched, number: int, caller: str) -> Change:
        """Goes back to a reference that the version had; see `use_recent`."""
        with self._lock:
            self._find(watched)
            reference = self._keeper.past_reference(watched, number)
            if reference is None:
                raise ReferenceInvalid(f"there is no reference {number} of this version, see ListReferences")
            return self._use(watched, reference, caller)

    def learn(self, watched: Watched, caller: str) -> Change:
        """Forgets the reference; see `use_recent`."""
        with self._lock:
            return self._use(watched, None, caller)

    def past(self, watched: Watched) -> dict[int, Summary]:
        """The references that a version had, by number, the latest first.

        Raises:
            NotWatched: The version is not watched.
        """
        with self._lock:
            self._find(watched)
            return self._keeper.past(watched)

    def _use(self, watched: Watched, reference: Reference | None, caller: str) -> Change:
        series = self._find(watched).series
        before = series.reference
        if reference is None:
            series.learn(self._clock())
        else:
            series.use(reference, self._clock())
        self._keeper.changed(watched, caller, before)
        return Change(summary(reference), summary(before))

    def _alarm(self, watched: Watched, version: VersionMonitor) -> None:
        """Says and counts that a version has become DRIFTED."""
        self.alarms[watched] += 1
        told = View.of(version.series, self._clock()).status(only_drifted=True)
        because = [each.words for each in told.features[:3]]
        log.warning("the world has changed", extra={**watched._asdict(), "because": because})

    def _turn_away(self, watched: Watched, count: int) -> None:
        """Counts what nobody can be told of by its version."""
        if not self.turned_away:
            log.error("so many versions are watched that there is no room for another", extra=watched._asdict())
        self.turned_away += count

    def _named(self, model: str, version: str) -> list[Watched]:
        return sorted(w for w in self._monitor.versions if model in ("", w.model) and version in ("", w.version))

    def _find(self, watched: Watched) -> VersionMonitor:
        version = self._monitor.versions.get(watched)
        if version is None:
            raise self._not_watched(*watched)
        return version

    def _not_watched(self, model: str, version: str) -> NotWatched:
        return NotWatched(model, version, sorted(f"{w.model}/{w.version}" for w in self._monitor.versions))
