"""When people are told: states with hysteresis, what hides behind what, and how much is too much.

OK → PENDING (k of n windows) → FIRING → RECOVERING (below 0.7 of the limit) → OK. Too little data
moves nothing: it is neither an alarm nor an all-clear.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

Severity = Literal["info", "ticket", "page"]
State = Literal["OK", "PENDING", "FIRING", "RECOVERING"]
Data = Literal["CURRENT", "INSUFFICIENT_DATA", "STALE"]
SEVERITIES: tuple[Severity, ...] = ("info", "ticket", "page")

RECOVERED_BELOW = 0.7
"""Share of the limit below which an alert begins to recover."""
CLEAN_WINDOWS = 2
FLAPPING_TURNS = 4
"""So many turns between firing and recovering within ``FLAPPING_WINDOWS`` are flapping."""
FLAPPING_WINDOWS = 10
STALE_WINDOWS_US = 2 * 86_400_000_000
HISTORY = 10

_RANK = {
    "schema": 0,
    "null": 1,
    "range": 2,
    "unseen": 2,
    "strange": 2,
    "mean": 3,
    "ks": 3,
    "drift": 3,
}
"""Of the same column, the lower rank explains the higher ones."""
LAG = "lag"
PIPELINE = (LAG, "lost_data")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert is about; its fingerprint is the alert's name."""

    model: str
    kind: str
    version: str = ""
    feature: str = ""
    segment: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        whole = "\x1f".join((self.model, self.kind, self.version, self.feature, self.segment))
        return sha256(whole.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one window shows about a subject. ``level`` is value over limit: ≥ 1 breaches; None is
    too little data. ``sentence`` says what, how much, against what limit, on how many rows."""

    subject: Subject
    severity: Severity
    level: float | None
    sentence: str
    at_us: int
    window_us: int
    needed: int = 1
    windows: int = 1
    """Fires when ``needed`` of the last ``windows`` breached."""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert with its memory; plain values, to be stored as they are."""

    subject: Subject
    severity: Severity
    state: State = "OK"
    data: Data = "CURRENT"
    since_us: int = 0
    """Since when it is in this state; while FIRING, since its first breach."""
    at_us: int = 0
    level: float = 0.0
    sentence: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    breaches: tuple[bool, ...] = ()
    turns: tuple[bool, ...] = ()
    """Of the last windows, whether the alert turned between firing and not."""
    clean: int = 0
    acked_by: str = ""
    silenced_until_us: int = 0
    silence_reason: str = ""
    inhibited_by: str = ""
    told: bool = False
    """A message said that it fires, and none that it ended."""

    @property
    def firing(self) -> bool:
        """It is (still) true."""
        return self.state in ("FIRING", "RECOVERING")

    @property
    def flapping(self) -> bool:
        """It turns too often to be told about each time."""
        return sum(self.turns[-FLAPPING_WINDOWS:]) >= FLAPPING_TURNS

    def silenced(self, now_us: int) -> bool:
        """Somebody asked not to be told for now."""
        return now_us < self.silenced_until_us


def move(alert: Alert | None, seen: Sighting) -> Alert:
    """The alert after one more window."""
    before = alert or Alert(seen.subject, seen.severity, since_us=seen.at_us)
    if seen.level is None:
        return replace(before, data="INSUFFICIENT_DATA", at_us=seen.at_us)
    breached = seen.level >= 1
    breaches = (*before.breaches, breached)[-max(seen.windows, HISTORY) :]
    clean = before.clean + 1 if seen.level < RECOVERED_BELOW else 0
    state = _next(before.state, breaches[-seen.windows :], seen, clean)
    turned = before.firing != (state in ("FIRING", "RECOVERING"))
    same = state == before.state or (before.firing and state in ("FIRING", "RECOVERING"))
    return replace(
        before,
        severity=_worst(before, seen) if state != "OK" else seen.severity,
        state=state,
        data="CURRENT",
        since_us=before.since_us if same else seen.at_us - seen.window_us,
        at_us=seen.at_us,
        level=seen.level,
        sentence=seen.sentence if breached or state == "OK" else before.sentence,
        evidence=seen.evidence if breached or state == "OK" else before.evidence,
        breaches=breaches,
        turns=(*before.turns, turned)[-FLAPPING_WINDOWS:],
        clean=clean,
        acked_by="" if state == "OK" else before.acked_by,
    )


def _next(state: State, recent: Sequence[bool], seen: Sighting, clean: int) -> State:
    breached = recent[-1]
    if state in ("FIRING", "RECOVERING"):
        if breached:
            return "FIRING"
        if clean >= CLEAN_WINDOWS:
            return "OK"
        return "RECOVERING" if clean else state
    if breached:
        return "FIRING" if sum(recent) >= seen.needed else "PENDING"
    return "PENDING" if state == "PENDING" and any(recent[-max(seen.windows - 1, 0) :]) else "OK"


def _worst(before: Alert, seen: Sighting) -> Severity:
    if not before.firing:
        return seen.severity
    return max(before.severity, seen.severity, key=SEVERITIES.index)


def age(alert: Alert, now_us: int) -> Alert:
    """An alert that nothing has been seen of for two days is stale, whatever it last said."""
    stale = now_us - alert.at_us > STALE_WINDOWS_US
    return replace(alert, data="STALE") if stale and alert.data != "STALE" else alert


def inhibit(alerts: Iterable[Alert]) -> list[Alert]:
    """Marks those that another firing alert explains: a broken schema its null rate, that its
    range, that its drift; a log that lags explains everything but the pipeline's own trouble."""
    everyone = list(alerts)
    firing = [alert for alert in everyone if alert.firing]
    return [replace(alert, inhibited_by=_explained_by(alert, firing)) for alert in everyone]


def _explained_by(alert: Alert, firing: Sequence[Alert]) -> str:
    subject = alert.subject
    if subject.kind in PIPELINE:
        return ""
    for other in firing:
        if other.subject.kind == LAG:
            return other.subject.fingerprint
    rank = _RANK.get(subject.kind)
    for other in firing:
        theirs = _RANK.get(other.subject.kind)
        same = (
            (other.subject.model, other.subject.version, other.subject.feature)
            == (subject.model, subject.version, subject.feature)
        )  # fmt: skip
        if same and rank is not None and theirs is not None and theirs < rank:
            return other.subject.fingerprint
        alike = same and subject.kind == other.subject.kind
        if alike and subject.segment and not other.subject.segment:
            return other.subject.fingerprint  # the whole says it already
    return ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message about alerts of one model and severity that turned together."""

    model: str
    severity: Severity
    status: Literal["firing", "resolved"]
    title: str
    text: str
    alerts: tuple[Alert, ...]


def messages(before: Iterable[Alert], after: Iterable[Alert], now_us: int) -> list[Message]:
    """What people are to be told: what began to fire or got worse, and what ended.

    Silenced, acknowledged, inhibited and flapping alerts are kept but not told.
    """
    old = {alert.subject.fingerprint: alert for alert in before}
    groups: dict[tuple[str, Severity, Literal["firing", "resolved"]], list[Alert]] = {}
    for alert in after:
        was = old.get(alert.subject.fingerprint)
        status = _turn(was, alert)
        quiet = alert.silenced(now_us) or alert.acked_by or alert.inhibited_by or alert.flapping
        if status is not None and not quiet:
            groups.setdefault((alert.subject.model, alert.severity, status), []).append(alert)
    return [
        Message(model, severity, status, _title(model, status, found), _text(found), tuple(found))
        for (model, severity, status), found in groups.items()
    ]


def _turn(was: Alert | None, now: Alert) -> Literal["firing", "resolved"] | None:
    told = was is not None and was.firing and not was.inhibited_by
    if now.firing and (not told or (was is not None and was.severity != now.severity)):
        return "firing"
    return "resolved" if told and not now.firing else None


def _title(model: str, status: str, found: Sequence[Alert]) -> str:
    what = found[0].subject
    version = what.version and f"v{what.version}"
    name = " ".join(part for part in (version, what.feature, what.segment) if part)
    if len(found) == 1:
        return f"{model} {name}: {what.kind} {status}".replace("  ", " ")
    return f"{model}: {len(found)} alerts {status}"


def _text(found: Sequence[Alert]) -> str:
    ordered = sorted(found, key=lambda alert: -alert.level)
    shown = [alert.sentence for alert in ordered[:8]]
    more = len(ordered) - len(shown)
    return "\n".join([*shown, *([f"and {more} more"] if more else [])])


def within_budget(found: Sequence[Message], told_today: int, budget: int) -> list[Message]:
    """Pages always pass; of tickets so many a day, then one that says so. Info takes no budget."""
    kept: list[Message] = []
    for message in found:
        if message.severity != "ticket" or message.status == "resolved":
            kept.append(message)
            continue
        told_today += 1
        if told_today <= budget:
            kept.append(message)
        elif told_today == budget + 1:
            text = f"{message.text}\nFurther tickets of today are listed, not sent."
            kept.append(replace(message, text=text))
    return kept


def describe(alert: Alert, now_us: int) -> dict[str, Any]:
    """An alert as JSON; ``state`` shows a silence or an acknowledgement in its place."""
    shown: str = alert.state
    if alert.firing and alert.silenced(now_us):
        shown = "SILENCED"
    elif alert.firing and alert.acked_by:
        shown = "ACKED"
    elif alert.firing and alert.data == "STALE":
        shown = "STALE"
    return {
        "fingerprint": alert.subject.fingerprint,
        **asdict(alert.subject),
        "severity": alert.severity,
        "state": shown,
        "data": alert.data,
        "flapping": alert.flapping,
        "since_us": alert.since_us,
        "at_us": alert.at_us,
        "level": alert.level,
        "sentence": alert.sentence,
        "acked_by": alert.acked_by,
        "silenced_until_us": alert.silenced_until_us or None,
        "silence_reason": alert.silence_reason,
        "inhibited_by": alert.inhibited_by,
        "evidence": alert.evidence,
    }
