"""Tells people: what a run saw moves the alerts, and what turned is put where people look."""

from collections.abc import Sequence
from dataclasses import replace
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
from monitor.ports import Notice, Offload, Sink, SinkAway, Verdicts

_log = get_logger(__name__)

ATTEMPTS_MAX = 20
SENT_AT_A_TIME = 50


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
        """Send what waits in the outbox; a sink that is away is tried again next time."""
        waiting = await self._offload(lambda: self._verdicts.posted(SENT_AT_A_TIME))
        away: set[str] = set()
        for posted in waiting:
            sink = self._sinks.get(posted.sink)
            if posted.sink in away:
                continue
            ok = True
            if sink is not None:
                try:
                    await sink.send(posted.notice)
                except SinkAway as error:
                    _log.warning("sink_away", sink=posted.sink, reason=str(error))
                    away.add(posted.sink)
                    ok = False
            metrics.NOTIFICATIONS.labels(posted.sink, "sent" if ok else "failed").inc()
            await self._offload(lambda n=posted.number, k=ok: self._sent(n, k))  # type: ignore[misc]

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
