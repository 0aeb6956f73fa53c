"""References as people keep and send them: JSON, described in docs/drift.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from detector_grpc.drift import files
from detector_grpc.drift.block import Block, are_comparable
from detector_grpc.drift.features import NAMES, SCHEMA
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.reference import MIN_BLOCKS, Reference, of_blocks
from detector_grpc.errors import ReferenceInvalid
from detector_grpc.validation import faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MIN_BLOCK = 20

# Each block of a reference is compared with all of it, so both are bounded; one of a day has 192 blocks of 100.
MAX_BLOCKS = 250
MAX_OBSERVATIONS = 20_000

_DIGITS = 5
_MAX_BOXES = 10**9
_MAX_LENGTH = 255

_Name = Annotated[str, Field(max_length=_MAX_LENGTH)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Value = Annotated[float, Field(ge=-float(np.finfo(np.float32).max), le=float(np.finfo(np.float32).max))]
# The first fault of a list of thousands is enough.
_Row = Annotated[list[_Value | None], Field(min_length=len(NAMES), max_length=len(NAMES)), FailFast()]
_Rows = Annotated[list[_Row], Field(min_length=MIN_BLOCK, max_length=MAX_OBSERVATIONS), FailFast()]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Block(_Model):
    at: _Number
    values: _Rows
    classes: dict[_Name, Annotated[int, Field(ge=0, le=_MAX_BOXES)]]


class _Reference(_Model):
    model: _Name
    version: _Name
    digest: _Name = ""
    source: _Name
    made_at: _Number
    daily: bool = False
    timeless: bool = False
    blocks: Annotated[list[_Block], FailFast()]


class _File(_Model):
    schema_: Literal[SCHEMA] = Field(alias="schema")  # type: ignore[valid-type]
    features: list[str]
    references: Annotated[list[_Reference], FailFast()]


class Kept(NamedTuple):
    """A reference, and whose it is.

    Attributes:
        watched: The version.
        digest: Digest of its model file; empty where any will do.
        reference: The reference.
    """

    watched: Watched
    digest: str
    reference: Reference


def to_json(kept: Sequence[Kept]) -> str:
    """The text of a reference file."""
    return json.dumps(
        {"schema": SCHEMA, "features": list(NAMES), "references": [_plain(each) for each in kept]}, allow_nan=False
    )


def from_json(text: str, needed: int) -> list[Kept]:
    """What a reference file holds.

    Args:
        text: Its text.
        needed: Observations that each reference must have.

    Raises:
        ReferenceInvalid: It holds something else.
    """
    try:
        content = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ReferenceInvalid("this is no whole JSON") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise ReferenceInvalid('this is no reference file: it has no "schema"')
    if content["schema"] != SCHEMA:
        raise ReferenceInvalid(f"the reference is of schema {_cut(content['schema'])}, and this program reads {SCHEMA}")
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise ReferenceInvalid("; ".join(faults(error)[:3])) from error
    if tuple(file.features) != NAMES:
        raise ReferenceInvalid(f"the features must be {', '.join(NAMES)}, in this order")
    return [_kept(each, needed) for each in file.references]


def read(path: Path, needed: int) -> list[Kept]:
    """What a file holds; nothing where there is none.

    Raises:
        ReferenceInvalid: It holds something else, or cannot be read.
    """
    try:
        return from_json(path.read_text(encoding="utf-8"), needed)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ReferenceInvalid(f"cannot read the reference: {error}") from error


def write(path: Path, kept: Sequence[Kept]) -> None:
    """Writes a file, or leaves the old one as it is.

    Raises:
        OSError: It cannot be written.
    """
    files.replace(path, to_json(kept))


def _plain(kept: Kept) -> Mapping[str, Any]:
    reference = kept.reference
    return {
        "model": kept.watched.model,
        "version": kept.watched.version,
        "digest": kept.digest,
        "source": reference.source,
        "made_at": reference.made_at_s,
        "daily": reference.daily,
        "timeless": reference.timeless,
        "blocks": [
            {
                "at": block.at_s,
                "values": _rounded(block.values),
                "classes": dict(block.classes),
            }
            for block in reference.blocks
        ],
    }


def _rounded(values: NDArray[np.float32]) -> list[list[float | None]]:
    """To some significant digits, in the words of JSON."""
    exact = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(exact))))
        rounded = np.where(exact == 0, 0.0, np.round(exact * scale) / scale)
    told = rounded.astype(object)
    told[~np.isfinite(rounded)] = None
    rows: list[list[float | None]] = told.tolist()
    return rows


def _kept(said: _Reference, needed: int) -> Kept:
    blocks = [
        Block(each.at, np.array(each.values, np.float32), each.classes)  # None becomes NaN
        for each in said.blocks
    ]
    check(blocks, needed)
    blocks.sort(key=lambda block: block.at_s)
    reference = Reference(blocks, said.source, said.made_at, daily=said.daily, timeless=said.timeless)
    return Kept(Watched(said.model, said.version), said.digest, reference)


def check(blocks: Sequence[Block], needed: int) -> None:
    """Refuses blocks that cannot be a reference.

    Raises:
        ReferenceInvalid: They are too few, which says how many are needed, or too many, or say nothing.
    """
    there = of_blocks(blocks)
    if there < needed or len(blocks) < MIN_BLOCKS:
        raise ReferenceInvalid(
            f"a reference needs {needed} observations in at least {MIN_BLOCKS} blocks, "
            f"there are {there} in {len(blocks)}"
        )
    if there > MAX_OBSERVATIONS or len(blocks) > MAX_BLOCKS:
        raise ReferenceInvalid(
            f"a reference has at most {MAX_OBSERVATIONS} observations in {MAX_BLOCKS} blocks, "
            f"there are {there} in {len(blocks)}"
        )
    if not are_comparable(blocks):
        raise ReferenceInvalid("a reference needs numbers; in these blocks hardly any feature has some")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _cut(value: object) -> str:
    return json.dumps(value)[:20]
