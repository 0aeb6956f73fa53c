from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.drift import NOON_S, block

from detector_grpc.drift import reference_file
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.reference import Reference
from detector_grpc.drift.reference_file import Kept, from_json, to_json
from detector_grpc.errors import ReferenceInvalid

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = 200


@pytest.fixture
def kept() -> Kept:
    rng = np.random.default_rng(1)
    blocks = [block(rng, 20, NOON_S + 60.0 * number) for number in range(10)]
    blocks[0].values[3, 15] = np.nan
    return Kept(Watched("coco", "v1"), "sha256:00", Reference(blocks, "the window", NOON_S, daily=True))


@pytest.fixture
def content(kept: Kept) -> dict[str, Any]:
    """A file as programs see it."""
    return json.loads(to_json([kept]))


def test_what_is_written_is_read_again(kept: Kept) -> None:
    (read,) = from_json(to_json([kept]), NEEDED)

    assert read.watched == kept.watched
    assert read.digest == kept.digest
    assert (read.reference.source, read.reference.made_at_s) == ("the window", NOON_S)
    assert (read.reference.daily, read.reference.timeless) == (True, False)
    for one, other in zip(read.reference.blocks, kept.reference.blocks, strict=True):
        assert one.at_s == other.at_s
        assert one.classes == dict(other.classes)
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4)


def test_too_few_observations_are_counted(content: dict[str, Any]) -> None:
    content["references"][0]["blocks"] = content["references"][0]["blocks"][:8]

    with pytest.raises(ReferenceInvalid, match="needs 200 observations in at least 8 blocks, there are 160 in 8"):
        from_json(json.dumps(content), NEEDED)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_half_a_file_is_none(kept: Kept, part: float) -> None:
    text = to_json([kept])

    with pytest.raises(ReferenceInvalid, match="no whole JSON"):
        from_json(text[: int(len(text) * part)], NEEDED)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("schema",), 2, "schema 2, and this program reads 1"),
        (("features",), ["brightness"], "features must be brightness, contrast"),
        (("references", 0, "blocks", 0, "values", 0), [1.0], "at least 21 items"),
        (("references", 0, "blocks", 0, "values", 0, 0), 1e39, "references.0.blocks.0.values.0.0"),
        (("references", 0, "blocks", 0, "classes"), {"dog": 10**400}, "classes.dog"),
        (("references", 0, "blocks", 0, "classes"), {"d" * 300: 1}, "at most 255 characters"),
        (("references", 0, "source"), "x" * 300, "at most 255 characters"),
        (("references", 0, "model"), "\ud800", "references.0.model"),
        (("references", 0, "blocks", 0, "values", 0, 0), "dark", "references.0.blocks.0.values.0.0"),
        (("references", 0, "blocks", 0, "classes"), {"dog": -1}, "classes.dog"),
        (("references", 0, "made_at"), None, "references.0.made_at"),
        (("references", 0, "colour"), "red", "there is no such key"),
    ],
)
def test_what_is_wrong_is_named(content: dict[str, Any], path: tuple[Any, ...], value: object, fault: str) -> None:
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(ReferenceInvalid, match=fault):
        from_json(json.dumps(content), NEEDED)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, '{"schema": NaN}', "\x00"])
def test_what_is_no_reference_file_is_refused(text: str) -> None:
    with pytest.raises(ReferenceInvalid):
        from_json(text, NEEDED)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(kept: Kept, number: str) -> None:
    text = to_json([kept]).replace("null", number)

    with pytest.raises(ReferenceInvalid):
        from_json(text, NEEDED)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, kept: Kept, monkeypatch: Any) -> None:
    path = tmp_path / "references.json"
    reference_file.write(path, [kept])
    before = path.read_text(encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        reference_file.write(path, [])

    assert path.read_text(encoding="utf-8") == before
    assert [each.name for each in tmp_path.iterdir()] == ["references.json"]


@pytest.mark.parametrize(
    ("count", "blocks"), [(20, reference_file.MAX_BLOCKS + 1), (reference_file.MAX_OBSERVATIONS // 8 + 1, 8)]
)
def test_too_many_observations_are_counted(kept: Kept, count: int, blocks: int) -> None:
    one = kept.reference.blocks[1]
    large = replace(one, values=np.repeat(one.values[:1], count, axis=0))
    text = to_json([kept._replace(reference=replace(kept.reference, blocks=[large] * blocks))])

    with pytest.raises(ReferenceInvalid, match=f"at most 20000 observations in 250 blocks, there are {count * blocks}"):
        from_json(text, NEEDED)


def test_what_says_nothing_is_no_reference(content: dict[str, Any]) -> None:
    for each in content["references"][0]["blocks"]:
        each["values"] = [[None] * 21] * 20

    with pytest.raises(ReferenceInvalid, match="hardly any feature"):
        from_json(json.dumps(content), NEEDED)


def test_a_file_of_faults_is_refused_for_the_first_of_each_list(content: dict[str, Any]) -> None:
    for each in content["references"][0]["blocks"]:
        each["values"] = [["x"] * 21] * 1000

    with pytest.raises(ReferenceInvalid) as failure:
        from_json(json.dumps(content), NEEDED)

    assert failure.value.message.count("references.") == 1


@pytest.mark.parametrize(
    ("number", "written"),
    [(0.0, 0.0), (127.12345, 127.12), (-0.000123456, -0.00012346), (3.4e38, 3.4e38), (99999.9, 100000.0)],
)
def test_numbers_are_written_to_five_digits(kept: Kept, number: float, written: float) -> None:
    kept.reference.blocks[0].values[:, 0] = number

    values = json.loads(to_json([kept]))["references"][0]["blocks"][0]["values"]

    assert values[0][0] == pytest.approx(written, rel=1e-12)


def test_where_there_is_no_file_there_is_no_reference(tmp_path: Path) -> None:
    assert reference_file.read(tmp_path / "none.json", NEEDED) == []
