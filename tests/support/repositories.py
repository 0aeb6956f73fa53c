"""What commands are told that bring models into a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "127.0.0.1:1"


def environment(repository: Path) -> dict[str, str]:
    """Variables for such a command: where models go, and that no server runs."""
    return {
        "DETECTOR_MODELS_REPOSITORY": str(repository),
        "DETECTOR_ADMIN_ADDRESS": NOBODY,
        "NO_PROXY": "127.0.0.1",
        "COLUMNS": "200",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
