"""Promote: one deliberate state change of one version, compare-and-set and logged."""

from dataclasses import dataclass
from typing import Any

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act
from registry.domain.lifecycle import State, UnlawfulMove
from registry.domain.promotion import Refused, move
from registry.domain.version import VersionRecord
from registry.metrics import TRANSITIONS
from registry.ports import Announce, Ledger, Once, Transaction
from registry.preconditions import (
    Expected,
    known_version,
    permit,
    refuse_shadow,
    refuse_while_rolling_out,
)


@dataclass(frozen=True, slots=True)
class Promote:
    """Changes the state of a version, and its route where that follows."""

    ledger: Ledger
    announce: Announce
    four_eyes: bool

    async def __call__(
        self,
        model: str,
        version: str,
        to: State,
        reason: str,
        caller: Caller,
        expected: Expected,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """The version after the change. Raises ``Problem``."""
        await permit(
            self.ledger, caller, "registry:promote", f"transition.{to.value}", f"{model}/{version}"
        )
        answer = await self.ledger.write_once(
            once,
            lambda tx: self._change(tx, model, version, to, reason, caller, expected),
            dry_run=dry_run,
        )
        if not dry_run:
            TRANSITIONS.labels(to.value).inc()
            self.announce()
        return answer

    def _change(
        self,
        tx: Transaction,
        model: str,
        version: str,
        to: State,
        reason: str,
        caller: Caller,
        expected: Expected,
    ) -> dict[str, Any]:
        record = known_version(tx, model, version)
        expected.check(record.revision, _shown(record))
        refuse_while_rolling_out(tx, model, version)
        if to is State.SHADOW:
            refuse_shadow(record.manifest)
        if self.four_eyes and to is State.PRODUCTION and record.published_by == caller.principal:
            raise Problem(ProblemCode.FORBIDDEN, "Somebody else than its publisher promotes it.")
        route = tx.route(model)
        try:
            change = move(record, to, route=route, at_us=tx.now_us(), reason=reason)
        except (UnlawfulMove, Refused) as refused:
            raise Problem(
                ProblemCode.CONFLICT, f"{str(refused).capitalize()}.", current=_shown(record)
            ) from refused
        tx.put_version(change.record)
        if change.route != route:
            tx.put_route(model, change.route)
        if change.route is None:
            _forget_replaced(tx, model)
        tx.record(
            Act(
                actor=caller.principal,
                action="version.transition",
                model=model,
                subject=record.name,
                reason=reason,
                before=_shown(record),
                after=_shown(change.record),
            )
        )
        return _shown(change.record)


def _forget_replaced(tx: Transaction, model: str) -> None:
    """Nothing of the model is loaded any more, also not what its last rollouts replaced."""
    for rollout in tx.rollouts(model, unsettled=True):
        tx.put_rollout(rollout.changed(warm_until_us=None))


def _shown(record: VersionRecord) -> dict[str, Any]:
    return {
        "model": record.model,
        "version": record.version,
        "state": record.state.value,
        "revision": record.revision,
        "since_us": record.since_us,
        "reason": record.reason,
    }
