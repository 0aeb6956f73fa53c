"""What all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

# pytest imports test modules one by one, without a path; `support` is the one package among them.
sys.path.insert(0, str(Path(__file__).parent))
