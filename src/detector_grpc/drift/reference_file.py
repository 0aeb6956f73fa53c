"""References as people keep and send them: JSON, described in docs/drift.md."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.drift.block import Block
from detector_grpc.drift.features import NAMES, SCHEMA
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.reference import MIN_BLOCKS, Reference, of_blocks
from detector_grpc.errors import ReferenceInvalid
from detector_grpc.validation import faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_BLOCK = 20
_MAX_BLOCK = 10_000
_DIGITS = 5

_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Block(_Model):
    at: _Number
    values: list[list[_Number | None]] = Field(min_length=MIN_BLOCK, max_length=_MAX_BLOCK)
    classes: dict[str, Annotated[int, Field(ge=0)]]


class _Reference(_Model):
    model: str
    version: str
    digest: str = ""
    source: str
    made_at: _Number
    daily: bool = False
    timeless: bool = False
    blocks: list[_Block]


class _File(_Model):
    schema_: Literal[SCHEMA] = Field(alias="schema")  # type: ignore[valid-type]
    features: list[str]
    references: list[_Reference]


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
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_json(kept))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
                "values": [[_rounded(value) for value in row] for row in block.values.tolist()],
                "classes": dict(block.classes),
            }
            for block in reference.blocks
        ],
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _kept(said: _Reference, needed: int) -> Kept:
    blocks = []
    for each in said.blocks:
        if any(len(row) != len(NAMES) for row in each.values):
            raise ReferenceInvalid(f"each observation must have {len(NAMES)} values")
        values = np.array([[math.nan if value is None else value for value in row] for row in each.values], np.float32)
        blocks.append(Block(each.at, values, each.classes))
    check(blocks, needed)
    blocks.sort(key=lambda block: block.at_s)
    reference = Reference(blocks, said.source, said.made_at, daily=said.daily, timeless=said.timeless)
    return Kept(Watched(said.model, said.version), said.digest, reference)


def check(blocks: Sequence[Block], needed: int) -> None:
    """Refuses blocks that are too few to be a reference.

    Raises:
        ReferenceInvalid: They are; it says how many are needed.
    """
    there = of_blocks(blocks)
    if there < needed or len(blocks) < MIN_BLOCKS:
        raise ReferenceInvalid(
            f"a reference needs {needed} observations in at least {MIN_BLOCKS} blocks, "
            f"there are {there} in {len(blocks)}"
        )


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _cut(value: object) -> str:
    return json.dumps(value)[:20]
