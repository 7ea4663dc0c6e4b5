"""Writes the dashboards from ``pages/*.yml``: ``python deploy/grafana/make.py``.

A page is a list of questions with their queries (legend → PromQL); everything that Grafana needs
besides is the same for all of them and stands here. A test holds the dashboards against it.
"""

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_ACROSS, _WIDTH, _HEIGHT = 24, 8, 8
_MODELS = "label_values(inference_rows_total, model)"


def rendered() -> dict[str, str]:
    """File name → content of every dashboard."""
    return {
        f"{page.stem}.json": json.dumps(
            _dashboard(page.stem, yaml.safe_load(page.read_text())), indent=1, ensure_ascii=False
        )
        + "\n"
        for page in sorted((HERE / "pages").glob("*.yml"))
    }


def _dashboard(name: str, page: dict[str, Any]) -> dict[str, Any]:
    others = {"type": "dashboards", "tags": ["leadline"], "asDropdown": True, "title": "Leadline"}
    return {
        "uid": f"leadline-{name}",
        "title": f"Leadline: {page['title']}",
        "tags": ["leadline"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{**others, "keepTime": True, "includeVars": True}],
        "templating": {"list": _variables(per_model=page.get("per_model", False))},
        "panels": _placed(page["panels"]),
    }


def _variables(*, per_model: bool) -> list[dict[str, Any]]:
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
    }
    model = {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": _MODELS, "refId": "model"},
        "definition": _MODELS,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
    return [source, model] if per_model else [source]


def _placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, 1):
        width = panel.get("width", _WIDTH)
        if x + width > _ACROSS:
            x, y = 0, y + _HEIGHT
        grid = {"x": x, "y": y, "w": width, "h": _HEIGHT}
        placed.append({"id": number, "gridPos": grid, **_panel(panel)})
        x += width
    return placed


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    kind, unit = panel.get("kind", "timeseries"), panel.get("unit", "short")
    defaults = {"unit": unit, "thresholds": _thresholds(panel)}
    if kind == "timeseries":
        defaults["custom"] = _lines(panel)
    if unit != "short":
        defaults["min"] = 0
    return {
        "type": kind,
        "title": panel["title"],
        "description": panel.get("says", ""),
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            _target(chr(ord("A") + number), legend, promql, table=kind == "table")
            for number, (legend, promql) in enumerate(_queries(panel).items())
        ],
    }


def _thresholds(panel: dict[str, Any]) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}]
    if "red_from" in panel:
        steps.append({"color": "red", "value": panel["red_from"]})
    return {"mode": "absolute", "steps": steps}


def _lines(panel: dict[str, Any]) -> dict[str, Any]:
    stack = panel.get("stack", False)
    return {
        "lineWidth": 1,
        "fillOpacity": 20 if stack else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stack else "none"},
        "thresholdsStyle": {"mode": "line" if "red_from" in panel else "off"},
    }


def _queries(panel: dict[str, Any]) -> dict[str, str]:
    if "quantiles_of" not in panel:
        queries: dict[str, str] = panel["queries"]
        return queries
    name, brace, where = panel["quantiles_of"].partition("{")
    rate = f"sum by (le) (rate({name}_bucket{brace}{where}[$__rate_interval]))"
    return {f"p{round(q * 100)}": f"histogram_quantile({q}, {rate})" for q in (0.5, 0.95, 0.99)}


def _target(ref: str, legend: str, promql: str, *, table: bool) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": promql,
        "legendFormat": legend,
        "instant": table,
        "range": not table,
        "format": "table" if table else "time_series",
    }


if __name__ == "__main__":
    for name, text in rendered().items():
        (HERE / "dashboards" / name).write_text(text)
