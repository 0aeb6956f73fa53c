"""Writes the dashboards for Grafana; with --check, only says whether they are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boards import DASHBOARDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boards import Dashboard

FOLDER = Path(__file__).resolve().parent / "dashboards"

COLUMNS, WIDTH, HEIGHT = 24, 12, 8


def rendered(dashboard: Dashboard) -> str:
    """A dashboard as Grafana reads it."""
    content = {
        "uid": f"detector-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["detector-grpc"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{"type": "dashboards", "title": "Others", "tags": ["detector-grpc"], "asDropdown": True}],
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_panels(dashboard)),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    for name, query in dashboard.variables.items():
        yield {
            "name": name,
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    column = row = 0
    for number, panel in enumerate(dashboard.panels, start=1):
        if column + WIDTH > COLUMNS:
            column, row = 0, row + HEIGHT
        yield {
            "id": number,
            "type": "timeseries",
            "title": panel.title,
            "description": panel.meaning,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"x": column, "y": row, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            "targets": [
                {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
                for index, (expression, legend) in enumerate(panel.queries)
            ],
        }
        column += WIDTH


def main() -> None:
    """Writes the files, or compares."""
    files = {FOLDER / f"{dashboard.name}.json": rendered(dashboard) for dashboard in DASHBOARDS}
    others = set(FOLDER.glob("*.json")) - files.keys()
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        if stale or others:
            sys.exit(f"make proto would change {', '.join(path.name for path in [*stale, *others])}")
        return
    for path in others:
        path.unlink()
    FOLDER.mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
