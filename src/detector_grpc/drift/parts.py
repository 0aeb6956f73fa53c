"""A series as bytes, in parts of which few change at a time."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.drift.block import Block
from detector_grpc.drift.evidence import DriftState, Evidence
from detector_grpc.drift.expectation import Deviation
from detector_grpc.drift.observation import Observation
from detector_grpc.drift.reference import Days, Reference
from detector_grpc.drift.series import DAYS, PENDING, REFERENCE, STATE, WINDOW, Series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.drift.series import Shape


def dump(series: Series, part: str) -> bytes:
    """A part as bytes; `restored` reads all of them."""
    if part == STATE:
        return json.dumps(_state(series)).encode()
    if part == PENDING:
        return _pack([Block.of(series.pending, 0.0)] if series.pending else ())
    if part == WINDOW:
        return _pack(series.window)
    if part == REFERENCE:
        return _pack(series.reference.blocks if series.reference else ())
    hour = int(part.removeprefix(DAYS))
    return _pack(series.days.kept.get(hour, ()) if series.days else ())


def restored(shape: Shape, parts: Mapping[str, bytes]) -> Series:
    """The series whose parts these are.

    Args:
        shape: How it is cut.
        parts: As `dump` made them, by name.

    Raises:
        Exception: Of whatever kind, for bytes that are none of `dump`.
    """
    series, state = Series(shape), json.loads(parts[STATE])
    series.state = DriftState(state["state"])
    series.since_s, series.since_block = state["since_s"], state["since_block"]
    series.latest_s, series.blocks = state["latest_s"], state["blocks"]
    series.evidence = Evidence(DriftState(state["evidence"]["state"]), state["evidence"]["sums"])
    series.deviations = {name: Deviation(*both) for name, both in state["deviations"].items()}
    series.window.extend(_unpack(parts[WINDOW]) if WINDOW in parts else ())
    for block in _unpack(parts[PENDING]) if PENDING in parts else ():
        series.pending = [Observation(values, {}) for values in block.values]
        # The classes of a block that is not full yet count with its first observation.
        series.pending[0] = series.pending[0]._replace(classes=block.classes)
    if state["reference"] is not None:
        series.reference = Reference(_unpack(parts[REFERENCE]), **state["reference"])
    if state["days"] is not None:
        hours = {int(part.removeprefix(DAYS)): body for part, body in parts.items() if part.startswith(DAYS)}
        seen = {int(hour): count for hour, count in state["days"].pop("seen").items()}
        kept = {hour: blocks for hour, body in hours.items() if (blocks := _unpack(body))}
        series.days = Days(**state["days"], kept=kept, seen=seen)
    series.changed.clear()
    return series


def _state(series: Series) -> dict[str, Any]:
    reference, days = series.reference, series.days
    return {
        "blocks": series.blocks,
        "state": series.state.value,
        "since_s": series.since_s,
        "since_block": series.since_block,
        "latest_s": series.latest_s,
        "evidence": {"state": series.evidence.state.value, "sums": series.evidence.sums},
        "deviations": series.deviations,
        "reference": reference
        and {
            "source": reference.source,
            "made_at_s": reference.made_at_s,
            "daily": reference.daily,
            "timeless": reference.timeless,
        },
        "days": days and {"latest_s": days.latest_s, "covered_s": days.covered_s, "seen": days.seen},
    }


def _pack(blocks: Sequence[Block]) -> bytes:
    file = io.BytesIO()
    np.savez(
        file,
        at_s=np.array([block.at_s for block in blocks]),
        lengths=np.array([len(block) for block in blocks], np.int64),
        values=np.concatenate([block.values for block in blocks]) if blocks else np.empty((0, 0), np.float32),
        classes=np.array(json.dumps([block.classes for block in blocks])),
    )
    return file.getvalue()


def _unpack(body: bytes) -> list[Block]:
    with np.load(io.BytesIO(body)) as file:
        values = np.split(file["values"], np.cumsum(file["lengths"])[:-1]) if len(file["lengths"]) else []
        classes = json.loads(str(file["classes"]))
        return [Block(*each) for each in zip(file["at_s"].tolist(), values, classes, strict=True)]
