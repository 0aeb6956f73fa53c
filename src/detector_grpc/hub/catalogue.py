"""The catalogue: detectors of COCO under free licences, and what is known of each."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from detector_grpc.hub.places import file_name
from detector_grpc.serving.manifest import Manifest, Probability, Side


class KnownFile(BaseModel):
    """A file that may come.

    Attributes:
        sha256: Its digest, in hexadecimal digits.
        size_bytes: Its size.
        checked: Whether the project has run and measured this very file; else others report the digest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0)]
    checked: bool = False


class Entry(BaseModel):
    """A model of the catalogue.

    Attributes:
        title: For people: what it is, and by whom.
        licence: Of the weights, by its SPDX identifier.
        url: Where its makers have it.
        files: What may come from there, the first if nobody has changed anything; none where no digest is known.
        needs: What has to be done with the file before a server can read it.
        input_hw: Height and width that it looks at, px.
        manifest: What the file does not say of itself, without the class names, which are those of COCO.
        published: mAP50-95 on COCO val2017 as its makers say; None where they do not.
        measured: mAP50-95 on 100 photos of VOC2012, measured by this project; None where it was not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    licence: Literal["MIT", "Apache-2.0"]
    url: Annotated[str, Field(pattern="^https://")]
    files: tuple[KnownFile, ...] = ()
    needs: Literal["export"] | None = None
    input_hw: tuple[Side, Side]
    manifest: Manifest = Manifest()
    published: Probability | None = None
    measured: Probability | None = None

    @property
    def file(self) -> str:
        """Name of the file, there and on mirrors."""
        return file_name(self.url)

    @property
    def digests(self) -> frozenset[str]:
        """Those of all files that may come."""
        return frozenset(each.sha256 for each in self.files)


class Catalogue(BaseModel):
    """All of them.

    Attributes:
        class_names: Those of COCO, by class_id.
        models: By name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_names: tuple[str, ...]
    models: dict[str, Entry]

    def manifest(self, name: str) -> str:
        """The text of the `manifest.yaml` of a model."""
        entry = self.models[name]
        said = entry.manifest.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        described = {"description": f"{entry.title}, {entry.licence}, {entry.url}", **said}
        return yaml.safe_dump({**described, "class_names": list(self.class_names)}, sort_keys=False)


@cache
def catalogue() -> Catalogue:
    """The catalogue of this release."""
    text = (files("detector_grpc.hub") / "catalogue.yaml").read_text(encoding="utf-8")
    return Catalogue.model_validate(yaml.safe_load(text))
