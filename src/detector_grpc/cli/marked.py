"""What people have marked, as far as it can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from detector_grpc.coco import Annotations
    from detector_grpc.evaluation.target import Target


def absent_pictures(annotations: Annotations, folder: Path) -> dict[int, str]:
    """Pictures that are not in the folder: what is said of each, by its id."""
    return {key: "missing" for key, name in annotations.pictures.items() if not (folder / name).is_file()}


def without_pictures(annotations: Annotations, unusable: Mapping[int, str], folder: Path, *, skip: bool) -> Annotations:
    """The annotations of all other pictures.

    Args:
        annotations: Of all.
        unusable: Why a picture cannot be used, by its id.
        folder: Where pictures are, for the error.
        skip: Whether to go on without them.

    Raises:
        SetupInvalid: A picture cannot be used, and is not to be left out; or there is nothing to find in the others.
    """
    if unusable and not skip:
        named = listed(f"{annotations.pictures[key]} ({reason})" for key, reason in unusable.items())
        numbers = f"{len(unusable)} of {len(annotations.pictures)} pictures in {folder}"
        raise SetupInvalid([f"{numbers} cannot be used: {named} (--skip-missing goes on without them)"])
    return _only(annotations, annotations.pictures.keys() - unusable.keys(), annotations.categories)


def without_unknown(annotations: Annotations, targets: Sequence[Target], *, skip: bool) -> Annotations:
    """The annotations of the categories that all targets know, by name.

    Args:
        annotations: Of all.
        targets: Who is to find them.
        skip: Whether to go on without the others, if objects of theirs are marked.

    Raises:
        SetupInvalid: A target lacks a category of which objects are marked, and they are not to be left out; or it has
            none of the categories.
    """
    counts = annotations.counts()
    faults = []
    for target in targets:
        unknown = [name for name in annotations.categories if name not in target.class_names]
        if len(unknown) == len(annotations.categories):
            faults.append(
                f"{target.name} knows none of the categories: they are {listed(annotations.categories)}, its classes "
                f"{listed(target.class_names)}"
            )
        elif not skip and (marked := [f"{name} ({counts[name]})" for name in unknown if counts[name]]):
            faults.append(
                f"{target.name} does not know all categories of which objects are marked: it lacks {listed(marked)} "
                "(--skip-unknown goes on without them)"
            )
    if faults:
        raise SetupInvalid(faults)
    known = set(annotations.categories).intersection(*(target.class_names for target in targets))
    return _only(annotations, annotations.pictures, known)


def _only(annotations: Annotations, pictures: Collection[int], categories: Collection[str]) -> Annotations:
    kept = annotations.only(pictures, categories)
    if not kept.counts():
        numbers = f"{len(kept.pictures)} pictures and {len(kept.categories)} categories"
        raise SetupInvalid([f"there is nothing to find: no object is marked in the {numbers} that can be used"])
    return kept
