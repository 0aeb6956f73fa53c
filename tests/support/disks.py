"""Disks that are full or cannot be written, for one process alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from support.servers import SERVE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


def may_mount() -> bool:
    """Whether processes can have mounts of their own here: not in every container, and only on Linux."""
    if sys.platform != "linux":
        return False
    return subprocess.run([*_OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False).returncode == 0


def on_a_disk(folder: Path, options: str, command: Sequence[str] = SERVE) -> tuple[str, ...]:
    """The command, by which it sees a disk of its own, made with these options of tmpfs, at a folder."""
    script = f'mount -t tmpfs -o {options} tmpfs "{folder}" && exec "$@"'
    return (*_OWN_MOUNTS, "sh", "-c", script, "sh", *command)
