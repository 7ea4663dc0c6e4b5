"""Tells people: what a run saw moves the alerts, and what turned is put where people look."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.logs import get_logger
from kit.problems import Problem
from monitor import metrics
from monitor.domain.alerts import (
    SEVERITIES,
    Alert,
    Message,
    Sighting,
    age,
    describe,
    inhibit,
    messages,
    move,
    within_budget,
)
from monitor.domain.rows import DAY_US
from monitor.ports import Board, Notice, Offload, Posted, Sink, SinkAway, SinkRefused, Verdicts

_log = get_logger(__name__)

PAUSE_S_MAX = 60.0
ATTEMPTS_MAX = 1_500
"""About a day of one a minute; then a message that is still not taken is given up."""
SENT_AT_A_TIME = 50


@dataclass(slots=True)
class _Pause:
    """After a failure a sink is left alone for a second, two, four, … up to a minute."""

    failures: int = 0
    until_ns: int = 0

    def end(self) -> None:
        self.failures = self.until_ns = 0

    def begin(self, now_ns: int) -> None:
        self.until_ns = now_ns + int(min(PAUSE_S_MAX, 2.0**self.failures) * 1e9)
        self.failures += 1


class TellPeople:
    """Moves alerts and sends messages; ``take`` runs inside the caller's transaction."""

    def __init__(
        self,
        verdicts: Verdicts,
        sinks: Sequence[Sink],
        offload: Offload,
        clock: Clock,
        budget_per_day: int,
    ) -> None:
        self._verdicts = verdicts
        self._sinks = {sink.name: sink for sink in sinks}
        self._pauses = {sink.name: _Pause() for sink in sinks}
        self._offload = offload
        self._clock = clock
        self._budget_per_day = budget_per_day

    def take(self, sightings: Sequence[Sighting], at_us: int) -> None:
        """Move the alerts by what was seen up to ``at_us`` (business time) and post what turned."""
        before = {alert.subject.fingerprint: alert for alert in self._verdicts.alerts()}
        after = {name: age(alert, at_us) for name, alert in before.items()}
        for seen in sightings:
            name = seen.subject.fingerprint
            after[name] = move(after.get(name), seen)
        settled = inhibit(after.values())
        told = messages(before.values(), settled, at_us)
        kept = self._budgeted(told, at_us)
        settled = _marked(settled, kept)
        self._verdicts.put_alerts(
            alert for alert in settled if before.get(alert.subject.fingerprint) != alert
        )
        self._verdicts.post([_notice(message, at_us) for message in kept], [*self._sinks], at_us)
        _export(settled)

    def _budgeted(self, told: Sequence[Message], at_us: int) -> list[Message]:
        kept: list[Message] = []
        for model in dict.fromkeys(message.model for message in told):
            mine = [message for message in told if message.model == model]
            spent = self._verdicts.told_since(model, at_us - DAY_US + 1)
            kept += within_budget(mine, spent, self._budget_per_day)
        return kept

    async def deliver(self) -> None:
        """Send what waits in the outbox; a sink that is away is tried again after a pause."""
        waiting = await self._offload(lambda: self._verdicts.posted(SENT_AT_A_TIME))
        now_ns = self._clock.monotonic_ns()
        resting = {name for name, pause in self._pauses.items() if now_ns < pause.until_ns}
        failed: set[str] = set()
        for posted in waiting:
            if posted.sink in resting:
                continue
            error = await self._send(posted)
            if error is not None:
                failed.add(posted.sink)
                if not isinstance(error, SinkRefused):
                    resting.add(posted.sink)
            await self._offload(lambda n=posted.number, ok=error is None: self._sent(n, ok))  # type: ignore[misc]
        for name in self._pauses.keys() & {posted.sink for posted in waiting} - resting - failed:
            self._pauses[name].end()
        for name in failed:
            self._pauses[name].begin(now_ns)

    async def _send(self, posted: Posted) -> SinkAway | None:
        sink = self._sinks.get(posted.sink)  # None: it is configured no more
        error: SinkAway | None = None
        if sink is not None:
            try:
                await sink.send(posted.notice)
            except SinkAway as away:
                _log.warning("sink_away", sink=posted.sink, reason=str(away))
                error = away
        metrics.NOTIFICATIONS.labels(posted.sink, "failed" if error else "sent").inc()
        return error

    async def restate(self, board: Board) -> None:
        """Say again which alerts fire that people were told of; not of a version that serves no
        more, of which nothing was seen for days."""
        alerts = await self._offload(self._verdicts.read_alerts)
        now_us = self._clock.now_us()
        standing = [
            describe(alert, now_us)
            for alert in alerts
            if alert.told and alert.firing and alert.data != "STALE"
            if not (alert.silenced(now_us) or alert.inhibited_by)
        ]
        if not standing:
            return
        try:
            await board.restate(standing)
        except SinkAway as error:
            _log.warning("sink_away", sink=board.name, reason=str(error))
            metrics.NOTIFICATIONS.labels(board.name, "failed").inc()

    def _sent(self, number: int, ok: bool) -> None:
        with self._verdicts.transaction():
            self._verdicts.sent(number, ok=ok, attempts_max=ATTEMPTS_MAX)

    async def listed(self, model: str | None, everything: bool) -> list[dict[str, Any]]:
        """Alerts that are not OK (or all with a memory), worst first."""
        alerts = await self._offload(self._verdicts.read_alerts)
        shown = [
            alert
            for alert in alerts
            if (model is None or alert.subject.model == model)
            and (everything or alert.state != "OK")
        ]
        shown.sort(key=lambda alert: (-SEVERITIES.index(alert.severity), -alert.level))
        now_us = self._clock.now_us()
        return [describe(alert, now_us) for alert in shown]

    async def acknowledge(self, fingerprint: str, who: str) -> dict[str, Any]:
        """Somebody has seen it: no further messages until it ends."""
        return await self._change(fingerprint, lambda alert: replace(alert, acked_by=who))

    async def silence(self, fingerprint: str, until_us: int, reason: str) -> dict[str, Any]:
        """No messages about it until then."""
        return await self._change(
            fingerprint,
            lambda alert: replace(alert, silenced_until_us=until_us, silence_reason=reason),
        )

    async def _change(self, fingerprint: str, change: Any) -> dict[str, Any]:
        def work() -> Alert | None:
            with self._verdicts.transaction():
                for alert in self._verdicts.alerts():
                    if alert.subject.fingerprint == fingerprint:
                        changed: Alert = change(alert)
                        self._verdicts.put_alerts([changed])
                        return changed
            return None

        found = await self._offload(work)
        if found is None:
            raise Problem(ProblemCode.NOT_FOUND, "No alert has this fingerprint.")
        return describe(found, self._clock.now_us())


def _marked(alerts: Sequence[Alert], told: Sequence[Message]) -> list[Alert]:
    """The alerts, each with whether people were told that it fires."""
    news = {alert.subject.fingerprint for message in told for alert in message.alerts}
    return [
        replace(alert, told=alert.firing and (alert.told or alert.subject.fingerprint in news))
        for alert in alerts
    ]


def _notice(message: Message, at_us: int) -> Notice:
    return Notice(
        title=message.title,
        text=message.text,
        severity=message.severity,
        status=message.status,
        group=f"{message.model}/{message.severity}/{at_us}",
        alerts=tuple(describe(alert, at_us) for alert in message.alerts),
    )


def _export(alerts: Sequence[Alert]) -> None:
    for severity in SEVERITIES:
        for state in ("PENDING", "FIRING", "RECOVERING"):
            number = sum(a.severity == severity and a.state == state for a in alerts)
            metrics.ALERTS.labels(severity, state).set(number)
