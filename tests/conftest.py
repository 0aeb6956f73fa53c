"""What all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# pytest imports test modules one by one, without a path; `support` is the one package among them.
sys.path.insert(0, str(Path(__file__).parent))

# Nothing is said of time, since machines stall.
settings.register_profile("some", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("some"), max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="as many calls and examples as prove something")
    parser.addoption("--convert", action="store_true", help="what needs PyTorch, too, which is installed for it")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("full" if config.getoption("--full") else "some")
    if os.environ.get("CI"):  # noqa: TID251 - CI says so itself; a red build must mean a changed product
        settings.register_profile("ci", settings(), derandomize=True, database=None, print_blob=True)
        settings.load_profile("ci")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for as many calls as prove something, not only for some."""
    return bool(request.config.getoption("--full"))
