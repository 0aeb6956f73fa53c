"""What all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# pytest imports test modules one by one, without a path; `support` is the one package among them.
sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="as many calls as `make chaos` makes")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for as many calls as prove something, not only for some."""
    return bool(request.config.getoption("--full"))
