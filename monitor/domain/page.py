"""The report as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from monitor.domain import plots
from monitor.domain.reference import CategoricalReference
from monitor.domain.tally import Cell, Layout

FEATURES_SHOWN = 6
CATEGORIES_SHOWN = 16

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#111827;max-width:1000px;margin:2rem auto;
padding:0 1rem}h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem;
border-bottom:1px solid #e5e7eb}p.sub{color:#4b5563;margin-top:0}table{border-collapse:collapse;
font-size:.85rem;width:100%}.wide{overflow-x:auto}th,td{padding:.25rem .5rem;text-align:right;
border-bottom:1px solid #f3f4f6}th,td{white-space:nowrap}th:first-child,
td:first-child{text-align:left}svg{max-width:100%;
height:auto;font:11px system-ui,sans-serif;fill:#374151}svg .name{fill:#6b7280}svg .mark{
fill:#b45309;font-weight:600}.plots{display:flex;flex-wrap:wrap;gap:.5rem}.alert{border-left:4px
solid #d97706;padding:.2rem .8rem;margin:.4rem 0;background:#fffbeb}.alert.page{border-color:
#b91c1c;background:#fef2f2}.alert.info{border-color:#9ca3af;background:#f9fafb}.key b{
display:inline-block;width:1.6em;border-top:3px solid;margin:0 .3em 0 1em;vertical-align:middle}
"""


_UNPROFILED = (
    "<p>There is no profile of this version's training data (a version of bare tensors has none), "
    "so that nothing can be said of drift. Errors and answers without variety are watched by the "
    "hour.</p>"
)


def page(data: Mapping[str, Any], layout: Layout | None, cell: Cell | None) -> str:
    """The page of one model version: ``data`` as ``report`` gives it as JSON, the baseline's
    layout and the window's counts for the distributions."""
    parts = [_head(data), _alerts(data["alerts"]), _heat(data["days"])]
    if layout is not None and cell is not None:
        parts.append(_distributions(data, layout, cell))
    parts += [_quality(data), _table(data["columns"]), _segments(data["segments"])]
    title = f"{escape(data['model'])} v{escape(data['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>"
    )


def _head(data: Mapping[str, Any]) -> str:
    sha = data.get("baseline_sha256") or "none"
    why = data.get("unlike_other_days")
    note = f"<p>Not held against the training's days: {escape(why)}.</p>" if why else ""
    if data["state"] == "NO_BASELINE":
        note += _UNPROFILED
    return (
        f"<h1>{escape(data['model'])} v{escape(data['version'])}: {escape(data['window_text'])}"
        f'</h1><p class="sub">{data["rows"]:,} predictions · {escape(data["state"])} · baseline '
        f"{escape(sha[:12])} · as of {escape(data['as_of'])}</p>{note}"
    )


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> str:
    shown = [a for a in alerts if a["severity"] != "info"]
    quiet = len(alerts) - len(shown)
    lines = [
        f'<div class="alert {a["severity"]}"><strong>{a["severity"]} · {a["state"]}</strong> '
        f"{escape(a['sentence'])}</div>"
        for a in shown
    ]
    none = "" if lines else "<p>Nothing that needs a person.</p>"
    more = f"<p>{quiet} alerts of severity info are in the API.</p>" if quiet else ""
    return f"<h2>Alerts</h2>{''.join(lines)}{none}{more}"


def _heat(days: Sequence[Mapping[str, Any]]) -> str:
    names = sorted({name for day in days for name in day["effect"]})
    if not names:
        return ""
    worst = {n: max((day["effect"].get(n) or 0.0) for day in days) for n in names}
    names.sort(key=lambda name: -worst[name])
    values = [[day["effect"].get(name) for day in days] for name in names]
    drawn = plots.heat_map(names, [day["day"] for day in days], values)
    return (
        "<h2>Drift by feature and day</h2><p>Distance from training over the feature's learned "
        f"floor; orange is the floor itself, red three times it.</p>{drawn}"
    )


def _distributions(data: Mapping[str, Any], layout: Layout, cell: Cell) -> str:
    columns = data["columns"]
    ranked = sorted(
        (name for name in columns if not name.startswith("@")),
        key=lambda n: -(columns[n]["distance"] / (columns[n]["floor"] or 1.0)),
    )
    names = [n for n in ("@prediction", "@confidence") if n in columns] + ranked[:FEATURES_SHOWN]
    drawn = [
        _distribution(name, columns[name], layout, cell)
        for name in names
        if columns[name]["state"] == "OK" and columns[name]["counted"]
    ]
    key = (
        f'<p class="key"><b style="color:{plots.BASELINE}"></b>training'
        f'<b style="color:{plots.LIVE}"></b>served<b style="color:{plots.MARK}"></b>'
        "where they differ most</p>"
    )
    return f'<h2>Distributions</h2>{key}<div class="plots">{"".join(drawn)}</div>'


def _distribution(name: str, drift: Mapping[str, Any], layout: Layout, cell: Cell) -> str:
    reference, counts = layout.references[name], layout.column(cell, name)
    cells = counts.cells
    title = f"{name} (distance {drift['distance']:.3f}, floor {drift['floor']:.3f})"
    if isinstance(reference, CategoricalReference):
        expected = reference.expected(counts.weekday_rows)
        live = cells / max(int(cells.sum()), 1)
        order = np.argsort(-np.maximum(expected, live))[:CATEGORIES_SHOWN]
        names = [*reference.index, "(other)"]
        return plots.bars(title, [names[i] for i in order.tolist()], expected[order], live[order])
    expected = reference.expected(counts.weekday_rows)
    live = np.cumsum(cells)[:-1] / max(int(cells.sum()), 1)
    at = int(np.abs(live - expected).argmax()) if len(live) else None
    return plots.distributions(title, reference.bins.edges, expected, live, at)


def _quality(data: Mapping[str, Any]) -> str:
    days, week = data["quality_days"], data.get("rolling_week") or {}
    if all(day["accuracy"] is None and day["expected"] is None for day in days):
        return "<h2>Quality</h2><p>No labels are due yet.</p>"
    realised = [
        None if day["accuracy"] is None else (day["accuracy"], *day["interval"]) for day in days
    ]
    drawn = plots.quality_over_days(
        [day["day"] for day in days], realised, [day["expected"] for day in days],
        [day["completeness"] for day in days], data.get("reference_accuracy"),
    )  # fmt: skip
    text = (
        "<h2>Quality</h2><p>Dots: realised accuracy with its 95 % interval. Dashed orange: what "
        "the inputs let expect before labels came (CBPE). Dotted: validation. Bars: share of "
        f"labels that have come.</p>{drawn}"
    )
    parts = [text]
    calibration = week.get("calibration")
    if calibration and week["state"] == "OK":
        parts.append(
            "<h2>Calibration, last seven days</h2><p>Mean prediction "
            f"{week['mean_prediction']:.3f}, realised {week['mean_label']:.3f}; calibration error "
            f"{calibration['rmsce']:.3f} (debiased), Spiegelhalter z "
            f"{calibration['spiegelhalter_z']:.1f}. Dashed: validation.</p>"
            + plots.reliability(calibration["reliability"], data.get("reference_reliability") or [])
        )
    return "".join(parts)


_COLUMNS = (
    ("distance", ".3f"), ("low", ".3f"), ("floor", ".3f"), ("p", ".2g"), ("q", ".2g"),
    ("psi", ".3f"), ("jensen_shannon", ".4f"), ("mean_shift", "+.2f"), ("null_rate", ".2%"),
    ("outside_rate", ".2%"), ("counted", ",d"),
)  # fmt: skip


def _table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    if not columns:
        return ""
    head = "".join(f"<th>{name}</th>" for name, _ in _COLUMNS)
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{_cell(drift, key, form)}</td>" for key, form in _COLUMNS)
        + "</tr>"
        for name, drift in columns.items()
    ]
    return (
        '<h2>Every number</h2><div class="wide"><table><thead><tr><th>column</th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(drift: Mapping[str, Any], key: str, form: str) -> str:
    value = drift.get(key)
    known = drift["state"] == "OK" or key == "counted"
    return "–" if value is None or not known else format(value, form)


def _segments(segments: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    if not any(segments.values()):
        return ""
    rows = []
    for name, found_columns in segments.items():
        # A segment is defined by its own column, which therefore says nothing.
        columns = {c: d for c, d in found_columns.items() if c != name.partition("=")[0]}
        if columns:
            worst = max(columns, key=lambda column: columns[column]["low"])
            found = columns[worst]
            rows.append(
                f"<tr><td>{escape(name)}</td><td>{escape(worst)}</td>"
                f"<td>{found['distance']:.3f}</td><td>{found['low']:.3f}</td>"
                f"<td>{found['rows']:,}</td></tr>"
            )
    return (
        "<h2>Segments</h2><table><thead><tr><th>segment</th><th>moved most</th><th>distance</th>"
        f"<th>at least</th><th>rows</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
