"""The catalogue holds what it says."""

from __future__ import annotations

import hashlib

import pytest
import yaml
from support.reference import DATA, MODELS, REFERENCES, coco_class_names

from detector_grpc.hub.catalogue import catalogue
from detector_grpc.serving.manifest import Manifest
from detector_grpc.serving.repository import NAME

ENTRIES = catalogue().models


def test_names_can_be_those_of_models_and_files_are_told_apart_on_a_mirror() -> None:
    assert all(NAME.fullmatch(name) for name in ENTRIES)
    assert len({entry.file for entry in ENTRIES.values()}) == len(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_manifests_are_whole(name: str) -> None:
    manifest = Manifest.model_validate(yaml.safe_load(catalogue().manifest(name)))

    assert len(manifest.class_names) == 80
    assert ENTRIES[name].licence in manifest.description


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.needs is None])
def test_what_is_served_as_it_comes_is_known_by_its_digest(name: str) -> None:
    assert ENTRIES[name].files


@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_measured_was_measured_of_a_file_that_is_checked(name: str) -> None:
    assert (ENTRIES[name].measured is not None) == any(each.checked for each in ENTRIES[name].files)


@pytest.mark.skipif(not DATA.exists(), reason="the models are not beside the project")
def test_the_first_is_the_file_that_precision_was_measured_of() -> None:
    entry, content = ENTRIES["yolox-nano"], (MODELS / "yolox_nano.onnx").read_bytes()
    (checked,) = [each for each in entry.files if each.checked]

    assert hashlib.sha256(content).hexdigest() == checked.sha256
    assert len(content) == checked.size_bytes
    assert entry.measured == REFERENCES["yolox_nano"].map_
    assert list(catalogue().class_names) == coco_class_names()
