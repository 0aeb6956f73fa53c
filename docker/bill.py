"""Writes what an image is made of: a bill of materials (CycloneDX 1.5) and a list of licences.

Refuses Python packages under licences that this project cannot be shipped with.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of Python packages. Debian's libraries are used as they are, under the terms in /usr/share/doc.
REFUSED = re.compile(r"(?<![Ll])(A?GPL|GNU (Affero )?General)")

CLASSIFIER = "License :: OSI Approved :: "


@dataclass(frozen=True, order=True)
class Component:
    """A package.

    Attributes:
        kind: `pypi`, `deb/debian` or `generic`, as in package URLs.
        name: Its name.
        version: Its version.
        licence: What it says of its licence.
    """

    kind: str
    name: str
    version: str
    licence: str

    def as_cyclonedx(self) -> dict[str, Any]:
        """As in a bill of materials."""
        purl = f"pkg:{self.kind}/{self.name.lower()}@{self.version}"
        licences = [{"license": {"name": self.licence}}]
        return {
            "type": "library",
            "bom-ref": purl,
            "name": self.name,
            "version": self.version,
            "purl": purl,
            "licenses": licences,
        }


def main() -> None:
    """Looks into the folders that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", type=Path, help="file system with Debian's packages")
    parser.add_argument("environments", type=Path, nargs="+", help="folders with Python's packages")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    python = sorted(python_packages(arguments.environments))
    refused = [f"{each.name} {each.version}: {each.licence}" for each in python if REFUSED.search(each.licence)]
    if refused:
        raise SystemExit("cannot be shipped: " + "; ".join(refused))
    interpreter = Component("generic", "python", platform.python_version(), "PSF-2.0")
    components = [*sorted(debian_packages(arguments.system)), interpreter, *python]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": [each.as_cyclonedx() for each in components],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    lines = [f"{each.kind}\t{each.name}\t{each.version}\t{each.licence}\n" for each in components]
    (arguments.out / "licences.tsv").write_text("".join(lines), encoding="utf-8")


def python_packages(environments: list[Path]) -> Iterator[Component]:
    """Those that are installed there."""
    folders = [str(path) for environment in environments for path in environment.glob("lib/python3.*/site-packages")]
    for distribution in distributions(path=folders):
        yield Component("pypi", distribution.metadata["Name"], distribution.version, licence(distribution))


def licence(distribution: Distribution) -> str:
    """In the words of its metadata, of which there are three kinds."""
    metadata = distribution.metadata
    classified = [
        each.removeprefix(CLASSIFIER) for each in metadata.get_all("Classifier", []) if each.startswith("License ::")
    ]
    words = metadata.get("License-Expression") or " AND ".join(classified) or metadata.get("License") or "unknown"
    return words.strip().splitlines()[0]


def debian_packages(system: Path) -> Iterator[Component]:
    """Those that the file system says it has; their licences are in it."""
    for status in (system / "var/lib/dpkg/status.d").iterdir():
        said = dict(re.findall(r"^(Package|Version): (.*)$", status.read_text(encoding="utf-8"), re.MULTILINE))
        place = f"/usr/share/doc/{said['Package']}/copyright"
        yield Component("deb/debian", said["Package"], said["Version"], f"see {place}")


if __name__ == "__main__":
    main()
