"""How a rollout looks on a terminal: its ladder, its guards against their limits, its verdict."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from leadline.commands.moments import moment

LOG_LINES = 8
SEGMENTS = 9
_ENDS = ("difference_low", "difference_high")
BAR = 12
ACTIVE = ("warming", "running", "paused")
_COLOURS = {
    "promote": "green", "hold": "yellow", "halt": "red", "roll_back": "red",
    "promoted": "green", "rolled_back": "red", "halted": "red", "aborted": "red",
    "running": "cyan", "warming": "yellow", "paused": "yellow",
}  # fmt: skip


def view(rollout: dict[str, Any], decisions: list[dict[str, Any]]) -> RenderableType:
    """The whole picture, from the registry's JSON."""
    colour = _COLOURS.get(rollout["status"], "white")
    title = Text.assemble(
        f"{rollout['id']}: {rollout['model']} {rollout['baseline']} → {rollout['candidate']}  ",
        (rollout["status"], colour),
    )
    parts: list[RenderableType] = [_ladder(rollout), _guards(rollout)]
    parts += _pairs(rollout["evidence"] or {})
    if rollout["status"] in ACTIVE and (said := rollout["verdict"]):
        parts.append(Text(said["sentence"], style=_COLOURS[said["kind"]]))
    parts.append(_log(decisions))
    subtitle = f"business time since {moment(rollout['since_us'])}"
    return Panel(Group(*parts), title=title, subtitle=subtitle)


def _ladder(rollout: dict[str, Any]) -> Text:
    plan, step = rollout["plan"], rollout["step"]
    places = ["shadow"] if plan["shadow"] else []
    places += [f"{one['weight']:.4g}" for one in plan["steps"]]
    shown = ["shadow" if place == "shadow" else f"{float(place):.0%}" for place in places]
    at = step if plan["shadow"] else step - 1
    if rollout["status"] == "warming":
        at = -1
    ladder = Text()
    for number, place in enumerate(shown):
        done = rollout["status"] == "promoted" or number < at
        style = "green" if done else "bold reverse" if number == at else "dim"
        ladder.append(f" {place} ", style)
        ladder.append(" → " if number < len(shown) - 1 else "", "dim")
    return ladder


def _guards(rollout: dict[str, Any]) -> Table:
    evidence = rollout["evidence"] or {"guards": []}
    found = {one["name"]: one for one in evidence["guards"]}
    names = ("guard", "old", "new", "effect", "interval", "limit", "evidence of harm", "n")
    columns = (Column(name, no_wrap=True) for name in names)
    table = Table(*columns, box=SIMPLE_HEAD, collapse_padding=True)
    for guard in rollout["plan"]["guards"]:
        one = found.get(guard["name"])
        name = guard["name"] + ("" if guard["role"] == "guard" else "\n(signal)")
        sign = "-" if guard["direction"] == "lower_is_worse" else "+"
        limit = f"{sign}{guard['margin']:g}"
        if one is None:
            table.add_row(name, "-", "-", "-", "-", limit, "no evidence yet", "-")
            continue
        table.add_row(
            name,
            _number(one["baseline_value"]),
            _number(one["candidate_value"]),
            _number(one["estimate"], signed=True),
            _interval(one["low"], one["high"]),
            limit,
            _bar(one["log_e"]),
            f"{one['n_candidate']:,}",
        )
    return table


def _pairs(evidence: dict[str, Any]) -> list[RenderableType]:
    """Shadow: the same questions, answered by both; overall and by segment."""
    if not evidence.get("pairs"):
        return []
    table = Table("answered by both", "pairs", "score difference", "interval", "flips", "latency")
    for name, one in [("all", evidence["pairs"]), *evidence.get("segments", {}).items()][:SEGMENTS]:
        low, high = (_number(one[end], signed=True) for end in _ENDS)
        ratio = "-" if one["latency_ratio"] is None else f"{one['latency_ratio']:.2f} times"
        table.add_row(
            name, f"{one['pairs']:,}", _number(one["mean_difference"], signed=True),
            f"{low} … {high}", f"{one['decision_flips']:,}", ratio,
        )  # fmt: skip
    return [table]


def _bar(log_e: float, full: float = 5.0) -> str:
    """Log e-value as a bar; full is about what rolls back at the usual α."""
    filled = max(0, min(BAR, round(BAR * log_e / full)))
    return "█" * filled + "·" * (BAR - filled) + f" {log_e:+.1f}"


def _log(decisions: list[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 1))
    for one in decisions[-LOG_LINES:]:
        table.add_row(
            Text(moment(one["at_us"]), style="dim"),
            Text(one["sentence"], style=_COLOURS[one["kind"]]),
        )
    return table


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "-"
    return f"{_number(low, signed=True)} …\n{_number(high, signed=True)}"


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.4g}" if signed else f"{value:.4g}"
