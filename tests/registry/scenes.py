"""Rollouts, evidence and replicas for tests to play with."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from contracts.evidence import (
    ArmCount,
    Breakers,
    Evidence,
    EvidenceQuery,
    GuardEvidence,
    SampleRatio,
    ShadowPairs,
)
from contracts.identity import Caller
from contracts.manifest import Manifest
from contracts.routing import ModelRoute, ReplicaReport, VersionState
from kit.clock import FakeClock
from registry.adapters.ledger_sql import SqlLedger
from registry.adapters.numbers_disk import DiskNumbers
from registry.domain.audit import check_chain
from registry.domain.lifecycle import State
from registry.domain.plan import RolloutPlan, preset_plan
from registry.domain.rollout import Rollout
from registry.domain.traffic import only
from registry.domain.version import VersionRecord, manifest_digest
from registry.ports import Transaction
from registry.preconditions import Expected
from registry.promote import Promote
from registry.roll_back import RollBack
from registry.roll_out import RollOut
from registry.steer import Steer
from tests.registry.conftest import manifest_of

NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
ANN = Caller("ann", frozenset({"registry:promote"}))
BOB = Caller("bob", frozenset({"registry:promote"}))
BOSS = Caller("boss", frozenset({"registry:promote", "registry:override"}))


def plan(preset: str = "fast", **changes: Any) -> RolloutPlan:
    """A preset for a classifier."""
    return preset_plan(preset, "classification", **changes)


def rollout(**changes: Any) -> Rollout:
    """Version 2 against version 1, running at the first step, an hour into it."""
    fields: dict[str, Any] = {
        "id": "ro-delay-1",
        "model": "delay",
        "candidate": "2",
        "baseline": "1",
        "attempt": 1,
        "salt": "salt",
        "plan": plan(),
        "started_by": "ann",
        "started_us": NOW_US,
        "since_us": NOW_US,
    }
    entered = changes.pop("entered", 1)
    made = Rollout(**{**fields, **changes})
    return made if entered is None else made.entered(entered, NOW_US)


def found(name: str, **changes: Any) -> GuardEvidence:
    """A guard that shows nothing bad and much certainty."""
    fields: dict[str, Any] = {
        "name": name,
        "n_baseline": 20_000,
        "n_candidate": 20_000,
        "blocks": 9,
        "baseline_value": 0.001,
        "candidate_value": 0.001,
        "estimate": 0.0,
        "low": -0.01,
        "high": 0.01,
    }
    return GuardEvidence(**{**fields, **changes})


GOOD = tuple(found(name) for name in ("error_rate", "latency", "score_shift", "log_loss"))


def evidence(*guards: GuardEvidence, **changes: Any) -> Evidence:
    """Good evidence, but for the guards and fields given."""
    named = {guard.name: guard for guard in (*GOOD, *guards)}
    fields: dict[str, Any] = {
        "model": "delay",
        "rollout_id": "ro-delay-1",
        "as_of_us": NOW_US,
        "lag_s": 1.0,
        "arms": (
            ArmCount(version="1", requests=95_000, units=9_500, errors=9, intended_share=0.95),
            ArmCount(version="2", requests=5_000, units=500, errors=1, intended_share=0.05),
        ),
        "guards": tuple(named.values()),
        "pairs": ShadowPairs(pairs=50_000),
    }
    return Evidence(**{**fields, **changes})


def mismatch() -> SampleRatio:
    """Half of the canary's telemetry is lost."""
    return SampleRatio(log_e=30.0, observed=(9_500, 250), intended=(0.95, 0.05))


def failing(requests: int = 40, errors: int = 30, nan_answers: int = 0) -> Breakers:
    """What trips a breaker."""
    return Breakers(candidate_requests=requests, candidate_errors=errors, nan_answers=nan_answers)


def version(number: str, state: State = State.CANDIDATE, by: str = "ann") -> VersionRecord:
    """A version of ``delay``."""
    training = {**manifest_of()["training"], "git_commit": f"commit{number}"}
    manifest = Manifest.model_validate(manifest_of(training=training, task="classification"))
    return VersionRecord(
        model="delay",
        version=number,
        state=state,
        manifest=manifest,
        digest=manifest_digest(manifest),
        published_by=by,
        published_us=NOW_US,
        published_wall_us=NOW_US,
        since_us=NOW_US,
    )


def report(
    *ready: str,
    replica: str = "r1",
    epoch: int = 1,
    failed: str = "",
    reason: str = "wrong golden answer",
) -> ReplicaReport:
    """A replica on which those versions of ``delay`` are ready."""
    states = [VersionState(model="delay", version=v, state="ready") for v in ready]
    if failed:
        states.append(VersionState(model="delay", version=failed, state="failed", reason=reason))
    return ReplicaReport(replica=replica, epoch=epoch, versions=tuple(states))


class FakeMonitor:
    """Answers with what a test put there, after that much time; None is a monitor that is away."""

    def __init__(self, clock: FakeClock) -> None:
        self.answer: Evidence | None = evidence()
        self.asked: list[EvidenceQuery] = []
        self.takes_us = 0
        self._clock = clock

    async def __call__(self, query: EvidenceQuery) -> Evidence | None:
        self.asked.append(query)
        self._clock.advance_us(self.takes_us)
        return self.answer


class Desk:
    """A registry's verbs over a real database, a fake monitor and a fake clock."""

    def __init__(self, state_dir: Path, clock: FakeClock, *, four_eyes: bool = False) -> None:
        self.clock = clock
        self.monitor = FakeMonitor(clock)
        self.announced = 0
        self._executor = ThreadPoolExecutor(2)
        self.ledger = SqlLedger(
            f"sqlite:///{state_dir / 'r' / 'registry.db'}",
            clock,
            self._executor,
            DiskNumbers(state_dir / "numbers"),
        )
        self.promote = Promote(self.ledger, self._announce, four_eyes)
        self.roll_out = RollOut(self.ledger, self._announce, lambda: "salt", 10.0, four_eyes)
        self.roll_back = RollBack(self.ledger, self._announce)
        self.steer = self.steering("copy-1")

    def steering(self, holder: str) -> Steer:
        """A controller of its own, as another copy of the registry has it."""
        return Steer(self.ledger, self.monitor, self._announce, self.clock, holder, 10.0, 10.0)

    def _announce(self) -> None:
        self.announced += 1

    async def __aenter__(self) -> Self:
        await self.ledger.open()

        def seed(tx: Transaction) -> None:
            tx.add_version(version("1", State.PRODUCTION))
            tx.add_version(version("2"))
            tx.put_route("delay", only("1"))

        await self.ledger.write(seed)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ledger.close()
        self._executor.shutdown()

    async def start(self, made: RolloutPlan | None = None) -> str:
        """Start version 2; returns the rollout's id."""
        answer = await self.roll_out.start(
            "delay", "2", lambda _: made or plan(), "a test wants it", ANN
        )
        return str(answer["id"])

    async def move(self, number: str, to: State) -> None:
        """Ann changes a version's state by hand."""
        await self.promote("delay", number, to, "a test wants it", ANN, Expected(None))

    async def report(self, *ready: str, **fields: Any) -> None:
        """A replica says what it has."""
        await self.ledger.write(lambda tx: tx.put_replica(report(*ready, **fields)))

    async def look(self, hours: float = 0.0) -> Rollout:
        """Let business time pass, then let the controller look; the last rollout."""
        self.clock.step_us(int(hours * HOUR_US))
        await self.report("1", "2")
        await self.steer()
        return await self.last()

    async def last(self) -> Rollout:
        """The last rollout."""
        return (await self.ledger.read(lambda tx: tx.rollouts("delay")))[-1]

    async def route(self) -> ModelRoute:
        """What is served."""
        route = await self.ledger.read(lambda tx: tx.route("delay"))
        assert route is not None
        return route

    async def states(self) -> tuple[str, ...]:
        """The states of the versions."""
        records = await self.ledger.read(lambda tx: tx.versions("delay"))
        return tuple(record.state.value for record in records)

    async def actions(self) -> list[str]:
        """The audit log's actions."""
        entries = await self.ledger.read(lambda tx: tx.entries())
        check_chain(entries)
        return [entry.action for entry in entries]
