"""Plots as SVG text: no script, no font, no image from elsewhere; every mark has a title."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from monitor.domain.edges import Floats

BASELINE, LIVE, MARK, BAD, GRID = "#6b7280", "#2563eb", "#d97706", "#b91c1c", "#e5e7eb"
TOP, RIGHT = 18, 24


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the data lies in a drawing of ``width`` × ``height`` (pixels at scale one)."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int = 460
    height: int = 220
    left: int = 46
    bottom: int = 30

    def x(self, value: float) -> float:
        """Pixels from the left."""
        share = (value - self.x0) / (self.x1 - self.x0 or 1.0)
        return self.left + min(max(share, 0.0), 1.0) * (self.width - self.left - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = (value - self.y0) / (self.y1 - self.y0 or 1.0)
        return (
            self.height - self.bottom - min(max(share, 0.0), 1.0) * (self.height - self.bottom - 12)
        )

    def axes(self, x_text: str, y_text: str, *, x_ticks: bool = True) -> str:
        """Grid, tick numbers, names."""
        parts = []
        for value in np.linspace(self.y0, self.y1, 5).tolist():
            y = self.y(value)
            parts.append(
                f'<line x1="{self.left}" x2="{self.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{GRID}"/><text x="{self.left - 5}" y="{y + 4:.1f}" '
                f'text-anchor="end">{number(value)}</text>'
            )
        parts += [
            f'<text x="{self.x(value):.1f}" y="{self.height - self.bottom + 14}" '
            f'text-anchor="middle">{number(value)}</text>'
            for value in (np.linspace(self.x0, self.x1, 5).tolist() if x_ticks else ())
        ]
        parts.append(
            f'<text x="{(self.left + self.width) / 2:.0f}" y="{self.height - 2}" '
            f'text-anchor="middle" class="name">{escape(x_text)}</text>'
            f'<text x="{self.left}" y="9" class="name">{escape(y_text)}</text>'
        )
        return "".join(parts)

    def line(self, xs: Sequence[float], ys: Sequence[float], colour: str, dash: str = "") -> str:
        """A line through points; points that are NaN break it."""
        runs: list[list[str]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if not np.isfinite(y):
                runs.append([])
            else:
                runs[-1].append(f"{self.x(x):.1f},{self.y(y):.1f}")
        style = f'fill="none" stroke="{colour}" stroke-width="2"'
        style += f' stroke-dasharray="{dash}"' if dash else ""
        return "".join(f'<polyline points="{" ".join(run)}" {style}/>' for run in runs if run)


def number(value: float) -> str:
    """Short, for a tick."""
    if 1_000 <= abs(value) < 1_000_000:  # 1,380 and not 1.38e+03
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def drawing(frame: Frame, title: str, *parts: str) -> str:
    """The SVG element."""
    return (
        f'<svg viewBox="0 0 {frame.width} {frame.height}" width="{frame.width}" '
        f'height="{frame.height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def distributions(title: str, edges: Floats, baseline: Floats, live: Floats, at: int | None) -> str:
    """Cumulative shares at ``edges`` [B] of baseline and live; ``at`` is where they differ most."""
    low, high = _middle(edges, baseline, live)
    frame = Frame(low, high, 0.0, 1.0)
    mark = ""
    if at is not None and len(edges):
        x, y0, y1 = (
            frame.x(float(edges[at])),
            frame.y(float(baseline[at])),
            frame.y(float(live[at])),
        )
        gap = abs(float(live[at] - baseline[at]))
        mark = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y0:.1f}" y2="{y1:.1f}" stroke="{MARK}" '
            f'stroke-width="4"><title>D = {gap:.3f} at {number(float(edges[at]))}</title></line>'
            f'<text x="{x + 6:.1f}" y="{(y0 + y1) / 2:.1f}" class="mark">D = {gap:.3f}</text>'
        )
    points = edges.tolist()
    return drawing(
        frame, title, frame.axes(title, "cumulative share"),
        frame.line(points, baseline.tolist(), BASELINE, "5 3"),
        frame.line(points, live.tolist(), LIVE), mark,
    )  # fmt: skip


def _middle(edges: Floats, baseline: Floats, live: Floats) -> tuple[float, float]:
    """The stretch that holds all but half a per cent of both, so that a tail hides nothing."""
    if not len(edges):
        return 0.0, 1.0
    inside = (np.minimum(baseline, live) <= 0.995) & (np.maximum(baseline, live) >= 0.005)
    shown = edges[inside] if inside.any() else edges
    low, high = float(shown.min()), float(shown.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def bars(title: str, names: Sequence[str], baseline: Floats, live: Floats) -> str:
    """Shares of categories, baseline beside live."""
    top = max(float(baseline.max(initial=0)), float(live.max(initial=0)), 1e-9)
    frame = Frame(0.0, float(len(names)), 0.0, top)
    width = (frame.x(1) - frame.x(0)) * 0.4
    parts = [frame.axes(title, "share", x_ticks=False)]
    for i, name in enumerate(names):
        for offset, share, colour in ((0.08, baseline[i], BASELINE), (0.5, live[i], LIVE)):
            y = frame.y(float(share))
            parts.append(
                f'<rect x="{frame.x(i + offset):.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{frame.y(0) - y:.1f}" fill="{colour}">'
                f"<title>{escape(name)}: {share:.1%}</title></rect>"
            )
        if len(names) <= 16:
            parts.append(
                f'<text x="{frame.x(i + 0.5):.1f}" y="{frame.y(0) + 13:.1f}" '
                f'text-anchor="middle">{escape(name[:8])}</text>'
            )
    return drawing(frame, title, *parts)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]]
) -> str:
    """Effect over floor by feature and day: white is none, orange the floor, red three times it."""
    cell, left, top = 26, 170, 18
    frame = Frame(
        0, 1, 0, 1, width=left + cell * len(columns) + 10, height=top + 20 * len(rows) + 26
    )
    parts = []
    for r, name in enumerate(rows):
        y = top + 20 * r
        parts.append(f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        for c, day in enumerate(columns):
            value = values[r][c]
            said = "no data" if value is None else f"{value:.2f} of the floor"
            parts.append(
                f'<rect x="{left + cell * c}" y="{y}" width="{cell - 2}" height="18" rx="2" '
                f'fill="{_heat(value)}"><title>{escape(name)}, {day}: {said}</title></rect>'
            )
    for c, day in enumerate(columns):
        x = left + cell * c + cell / 2
        parts.append(
            f'<text x="{x}" y="{top + 20 * len(rows) + 14}" text-anchor="middle">{day[-2:]}</text>'
        )
    return drawing(frame, "Drift by feature and day", *parts)


def _heat(value: float | None) -> str:
    if value is None:
        return "#f3f4f6"
    share = min(max(value, 0.0), 3.0)
    if share <= 1:
        green, blue = 255 - 70 * share, 255 - 205 * share
        return f"rgb(255,{green:.0f},{blue:.0f})"
    red = 255 - 70 * (share - 1) / 2
    return f"rgb({red:.0f},{185 * (3 - share) / 2:.0f},{50 * (3 - share) / 2:.0f})"


def quality_over_days(
    days: Sequence[str],
    realised: Sequence[tuple[float, float, float] | None],
    expected: Sequence[float | None],
    completeness: Sequence[float | None],
    reference: float | None,
) -> str:
    """Accuracy by day with its interval, what was to be expected, and label completeness below."""
    frame = Frame(0, max(len(days), 1), 0.0, 1.0, width=720, height=260, bottom=56)
    parts = [frame.axes("day of prediction", "accuracy", x_ticks=False)]
    if reference is not None:
        ends = [0.0, float(len(days))]
        parts.append(frame.line(ends, [reference, reference], BASELINE, "2 3"))
    xs = [i + 0.5 for i in range(len(days))]
    parts.append(frame.line(xs, [np.nan if e is None else e for e in expected], MARK, "6 3"))
    for i, day in enumerate(days):
        x = frame.x(xs[i])
        known = realised[i]
        if known is not None:
            value, low, high = known
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(low):.1f}" '
                f'y2="{frame.y(high):.1f}" stroke="{LIVE}" stroke-width="2"/>'
                f'<circle cx="{x:.1f}" cy="{frame.y(value):.1f}" r="4" fill="{LIVE}">'
                f"<title>{day}: {value:.3f} [{low:.3f}, {high:.3f}]</title></circle>"
            )
        share = completeness[i] or 0.0
        base = frame.height - 12
        parts.append(
            f'<rect x="{x - 5:.1f}" y="{base - 20 * share:.1f}" width="10" '
            f'height="{20 * share:.1f}" fill="{BASELINE}"><title>{day}: {share:.0%} labelled'
            f'</title></rect><text x="{x:.1f}" y="{frame.height - 40}" text-anchor="middle">'
            f"{day[-2:]}</text>"
        )
    return drawing(frame, "Accuracy by day", *parts)


def reliability(bins: Sequence[dict[str, float]], reference: Sequence[dict[str, float]]) -> str:
    """Realised share against predicted probability; the size of a dot is its rows."""
    frame = Frame(0, 1, 0, 1, width=320, height=300)
    most = max([b["rows"] for b in bins], default=1)
    parts = [
        frame.axes("predicted probability", "realised share"),
        frame.line([0, 1], [0, 1], GRID),
        frame.line(
            [b["mean_score"] for b in reference],
            [b["positives"] / max(b["rows"], 1) for b in reference],
            BASELINE,
            "5 3",
        ),
    ]
    for bin_ in bins:
        share = bin_["positives"] / max(bin_["rows"], 1)
        radius = 3 + 6 * (bin_["rows"] / most) ** 0.5
        parts.append(
            f'<circle cx="{frame.x(bin_["mean_score"]):.1f}" cy="{frame.y(share):.1f}" '
            f'r="{radius:.1f}" fill="{LIVE}" fill-opacity="0.7"><title>predicted '
            f"{bin_['mean_score']:.3f}, realised {share:.3f} on {bin_['rows']} rows</title>"
            "</circle>"
        )
    return drawing(frame, "Reliability diagram", *parts)
