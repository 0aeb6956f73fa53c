"""How far two versions agree, by what the servers have counted of copied calls."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from detector_grpc.serving.copies import BOX_OUTCOMES, COPY_OUTCOMES, METRICS_PREFIX, MOMENTS, SIDES

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of the normal distribution, for intervals of 95 %.
Z = 1.959964

# With fewer pictures an interval that rests on the normal distribution says little.
MIN_PICTURES = 30


class Interval(NamedTuple):
    """An estimate and its 95 % interval; NaN where there is nothing to go by."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """As JSON has it, which has no NaN and no infinity."""
        return {name: number if math.isfinite(number) else None for name, number in self._asdict().items()}


class Comparison(NamedTuple):
    """Two versions of a model, seen by the same pictures.

    Attributes:
        model: Name of the model.
        version: The version that answered.
        shadow: The version that got the copies.
        selected: Calls that the gateway chose.
        compared: Copies that were answered and compared.
        failed: Copies that were not answered.
        dropped: Copies that were not sent, since they would have taken too much.
        same_pictures: Fraction of the pictures in which both find the same boxes.
        same_boxes: Fraction of all boxes that both find, of the same class.
        boxes: Number of boxes by "agree", "class_differs", "missed" (only by `version`), "extra" (only by `shadow`).
        telling: Number of pictures with equally many boxes that would say as much.
        first_s: Seconds that `version` takes for a picture, mean; None without any.
        copy_s: Seconds that `shadow` takes.
        slower_s: Seconds that `shadow` takes longer for the same picture.
    """

    model: str
    version: str
    shadow: str
    selected: int
    compared: int
    failed: int
    dropped: int
    same_pictures: Interval
    same_boxes: Interval
    boxes: Mapping[str, int]
    telling: float
    first_s: float | None
    copy_s: float | None
    slower_s: Interval

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {name: each.to_dict() if isinstance(each, Interval) else each for name, each in self._asdict().items()}

    def verdict(self, wanted: float) -> str:
        """In plain words.

        Args:
            wanted: Fraction of the boxes that should be the same for the versions to be as good as the same.
        """
        first, second = self.version, self.shadow
        if self.compared < MIN_PICTURES:
            return f"too few pictures to tell: {self.compared}, at least {MIN_PICTURES} are needed"
        if math.isnan(self.same_boxes.value):
            return f"{first} and {second} find nothing in these pictures"
        if self.telling < MIN_PICTURES:
            return f"too few pictures with boxes to tell: as good as {self.telling:.0f}, {MIN_PICTURES} are needed"
        if self.same_boxes.low >= wanted:
            sees = f"{second} sees what {first} sees"
        elif self.same_boxes.high < wanted:
            sees = f"{second} sees something else than {first}"
        else:
            sees = f"more pictures are needed to tell whether {second} sees what {first} sees"
        slower = self.slower_s
        if slower.low > 0:
            return f"{sees}, and is slower"
        if slower.high < 0:
            return f"{sees}, and is faster"
        return f"{sees}, as fast as far as can be told"


def comparisons(text: str) -> list[Comparison]:
    """All pairs of versions of which copies were counted, from the text of the servers' metrics.

    Raises:
        ValueError: It is no such text.
    """
    pairs: defaultdict[tuple[str, str, str], dict[tuple[str, str], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if (
                sample.name.startswith(METRICS_PREFIX)
                and "le" not in sample.labels
                and not sample.name.endswith("_created")
            ):
                labels = dict(sample.labels)
                pair = labels.pop("model"), labels.pop("version"), labels.pop("shadow")
                pairs[pair][sample.name.removeprefix(METRICS_PREFIX), next(iter(labels.values()), "")] = sample.value
    return [_comparison(pair, defaultdict(float, sums)) for pair, sums in sorted(pairs.items())]


def _comparison(pair: tuple[str, str, str], sums: Mapping[tuple[str, str], float]) -> Comparison:
    became = {outcome: int(sums["copies_total", outcome]) for outcome in COPY_OUTCOMES}
    boxes = {outcome: int(sums["boxes_total", outcome]) for outcome in BOX_OUTCOMES}
    pictures = became["compared"]
    first_s, copy_s = (sums["duration_seconds_sum", side] for side in SIDES)
    aa, an, nn = (sums["box_moments_total", moment] for moment in MOMENTS)
    return Comparison(
        *pair,
        selected=sum(became.values()),
        compared=pictures,
        failed=became["failed"],
        dropped=became["dropped"],
        same_pictures=wilson(int(sums["pictures_total", "true"]), pictures),
        same_boxes=ratio(boxes["agree"], sum(boxes.values()), aa, an, nn, pictures),
        boxes=boxes,
        telling=effective(sum(boxes.values()), nn),
        first_s=first_s / pictures if pictures else None,
        copy_s=copy_s / pictures if pictures else None,
        slower_s=mean(copy_s - first_s, sums["duration_difference_squares_seconds_total", ""], pictures),
    )


def wilson(successes: float, trials: float) -> Interval:
    """A proportion, by the score interval of Wilson (1927)."""
    if trials <= 0:
        return Interval(math.nan, 0, 1)
    share = successes / trials
    middle = share + Z**2 / (2 * trials)
    half = Z * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    scale = 1 + Z**2 / trials
    return Interval(share, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def ratio(a: float, n: float, aa: float, an: float, nn: float, clusters: int) -> Interval:
    """The ratio of two sums over clusters whose members are no strangers, as the boxes of one picture.

    Its variance is that of the ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6); the interval is
    Wilson's for as many trials as have that variance.

    Args:
        a: Sum of the numerators.
        n: Sum of the denominators.
        aa: Sum of the squares of the former.
        an: Sum of their products.
        nn: Sum of the squares of the latter.
        clusters: Number of clusters.
    """
    if not n:
        return Interval(math.nan, 0, 1)
    share = a / n
    if clusters < 2:  # noqa: PLR2004 - a variance needs two
        return Interval(share, 0, 1)
    residuals = max(0.0, aa - 2 * share * an + share**2 * nn)
    if residuals:
        variance = residuals * clusters / (clusters - 1) / n**2
        trials = share * (1 - share) / variance  # of which that is the variance
    else:  # all agree, or none, so far
        trials = effective(n, nn)
    return wilson(share * trials, trials)


def effective(n: float, nn: float) -> float:
    """The number of clusters of one size that say as much as these (Kish, Survey Sampling, 1965)."""
    return n**2 / nn if nn else 0.0


def mean(total: float, squares: float, count: int) -> Interval:
    """The mean of values whose sum and sum of squares are known."""
    if not count:
        return Interval(math.nan, -math.inf, math.inf)
    value = total / count
    if count < 2:  # noqa: PLR2004 - a variance needs two
        return Interval(value, -math.inf, math.inf)
    half = Z * math.sqrt(max(0.0, squares / count - value**2) / (count - 1))
    return Interval(value, value - half, value + half)
