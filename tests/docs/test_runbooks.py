"""Each alert has a runbook, and each runbook an alert."""

from __future__ import annotations

import re

from support.pages import alerts, page


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = re.findall(r"^## (.*)$", page("runbooks.md"), re.MULTILINE)
    assert sorted(sections) == sorted(alerts())
