"""Pages lead to what there is, and their commands exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.pages import DOCS, check_command, commands

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(DOCS.glob("**/*.md"))


def anchors(page: Path) -> set[str]:
    """Of its headings, as they are made on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        check_command(command)
