"""Fetches models before a server starts: download.py LIST FOLDER.

LIST is a JSON file of {"url", "path", "sha256"}; each file comes to its path below FOLDER, in one step, and only if its
digest is what it should be.
"""

import hashlib
import json
import sys
import urllib.request
from pathlib import Path

CHUNK_BYTES = 1024 * 1024
TIMEOUT_S = 60


def fetch(url: str, path: Path, sha256: str) -> None:
    """One file; ends the process where it is another than it should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, digest = path.with_name(f"{path.name}.partial"), hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, partial.open("wb") as file:  # noqa: S310
        while chunk := response.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        sys.exit(f"{url}: the SHA-256 is {digest.hexdigest()}, not {sha256}")
    partial.rename(path)


def main(listing: Path, folder: Path) -> None:
    """Fetches all of them."""
    for model in json.loads(listing.read_text(encoding="utf-8")):
        try:
            fetch(model["url"], folder / model["path"], model["sha256"])
        except OSError as error:
            sys.exit(f"{model['url']}: {error}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
