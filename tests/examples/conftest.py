"""The examples are scripts beside each other: a test finds them as they find themselves."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

sys.path[:0] = [str(EXAMPLES / "codes"), str(EXAMPLES / "active_learning")]
