"""Evidence is what was served, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.evidence import Evidence, EvidenceQuery, GuardSpec, StepWindow
from kit.clock import FakeClock
from kit.redis import connect
from monitor.adapters.database_sqlite import Database
from monitor.adapters.labels_sqlite import SqliteLabels
from monitor.adapters.rollouts_sqlite import SqliteRollouts
from monitor.adapters.stream_redis import RedisStream
from monitor.observe import Observe
from monitor.ports import Occurrence, Truth
from monitor.weigh import Weigh
from tests.monitor.world import MODEL, NOW_US, Producer, inline

GUARDS = (
    GuardSpec(name="errors", kind="error_rate", alpha=0.01),
    GuardSpec(name="slow", kind="latency", alpha=0.01, slo_ms=50.0),
    GuardSpec(name="score", kind="score_shift", role="signal", alpha=0.01),
    GuardSpec(name="brier", kind="brier", alpha=0.01, margin=0.02),
)


def query(*, paired: bool, weight: float = 0.5) -> EvidenceQuery:
    return EvidenceQuery(
        model=MODEL,
        rollout_id="r1",
        baseline_version="2",
        candidate_version="3",
        paired=paired,
        steps=(StepWindow(step=0 if paired else 1, weight=weight, from_us=NOW_US),),
        guards=GUARDS,
        block_s=3_600,
    )


@pytest.fixture
def weigh(database: Database, stream: RedisStream, clock: FakeClock) -> Weigh:
    return Weigh(SqliteRollouts(database, 3_600_000_000), stream, inline, clock)


def guard(evidence: Evidence, name: str) -> float:
    return next(one.log_e for one in evidence.guards if one.name == name)


async def test_two_arms_give_errors_units_and_sample_ratio(
    weigh: Weigh, observe: Observe, producer: Producer, clock: FakeClock
) -> None:
    for arm, version in enumerate(("2", "3")):
        batch = producer.batch(400)
        outcome = np.zeros(400, np.uint8)
        outcome[: 80 * arm] = 3
        producer.send(
            replace(
                batch,
                version=version,
                variant="canary" if arm else "production",
                rollout_id="r1",
                step=1,
                outcome=outcome,
                units=tuple(f"{version}-{i}" for i in range(400)),
            )
        )
    await observe.step()
    clock.advance_us(1_000_000)
    evidence = await weigh.evidence(query(paired=False))
    assert [(arm.requests, arm.units, arm.errors) for arm in evidence.arms] == [
        (400, 400, 0),
        (400, 400, 80),
    ]
    assert evidence.sample_ratio is not None
    assert evidence.sample_ratio.observed == (400, 400)
    assert evidence.sample_ratio.log_e < 1
    assert guard(evidence, "errors") > np.log(100)
    assert guard(evidence, "slow") == 0.0
    assert evidence.breakers.candidate_errors == 80
    assert evidence.multiple_exposure_share == 0.0
    assert evidence.gaps == 0


async def test_a_shadow_is_compared_pair_by_pair(
    weigh: Weigh, observe: Observe, producer: Producer, database: Database
) -> None:
    answered = producer.batch(300, rollout_id="r1")
    shadow = replace(
        answered, version="3", variant="shadow", score=np.clip(answered.score + 0.1, 0, 1)
    )
    producer.send(answered)
    producer.send(shadow)
    await observe.step()
    labels = SqliteLabels(database, 1_000_000, 100)
    key = producer.request_ids[0] + b"\0\0"
    assert labels.upsert([Truth(MODEL, 1.0, NOW_US, key)], NOW_US) == ["joined"]
    evidence = await weigh.evidence(query(paired=True))
    assert evidence.pairs is not None
    assert evidence.pairs.pairs == 300
    assert evidence.pairs.labelled_pairs == 1
    assert evidence.pairs.mean_difference == pytest.approx(0.1, abs=0.01)
    assert evidence.sample_ratio is None
    assert {"origin=EWR", "origin=JFK", "origin=LGA"} <= set(evidence.segments)
    assert sum(part.pairs for part in evidence.segments.values()) == 300


async def test_rows_of_another_rollout_are_no_evidence(
    weigh: Weigh, observe: Observe, producer: Producer
) -> None:
    producer.send(producer.batch(50, rollout_id="r0", step=1))
    producer.send(producer.batch(50))
    await observe.step()
    evidence = await weigh.evidence(query(paired=False))
    assert [arm.requests for arm in evidence.arms] == [0, 0]
    assert evidence.sample_ratio is None


async def test_an_unreachable_stream_is_a_reason_to_hold(
    database: Database, clock: FakeClock
) -> None:
    redis = connect("unix:///nowhere/redis.sock", purpose="test", timeout_ms=500)
    stream = RedisStream(
        redis, ("ll:served",), "m", clock, entries_max=1, block_ms=1, idle_claim_s=60
    )
    weigh = Weigh(SqliteRollouts(database, 1), stream, inline, clock)
    evidence = await weigh.evidence(query(paired=False))
    assert evidence.lag_s >= 86_400
    await redis.aclose()


async def test_business_follows_the_row_it_names_or_its_unit_for_a_time(
    observe: Observe, producer: Producer, database: Database
) -> None:
    producer.send(
        producer.batch(3, rollout_id="r1", step=1, units=("a", "b", "a"))
    )  # served within 3 µs of each other
    await observe.step()
    named = producer.request_ids[1] + b"\0\0"
    SqliteLabels(database, 0, 0).occur(
        [
            Occurrence(MODEL, "e1", "sold", 5.0, NOW_US - 9, named, None),
            Occurrence(MODEL, "e2", "sold", 1.0, NOW_US + 1, None, "a"),
            Occurrence(MODEL, "e3", "sold", 1.0, NOW_US + 1_001, None, "a"),
            Occurrence(MODEL, "e4", "sold", 7.0, NOW_US + 2_000, None, "a"),
            Occurrence(MODEL, "e5", "viewed", 7.0, NOW_US + 2, None, "a"),
        ],
        NOW_US,
    )
    rollouts = SqliteRollouts(database, 1_000)
    rows, segments = rollouts.exposed(MODEL, "r1", "2", "3", "sold", 100)
    assert rows.business.tolist() == [1.0, 5.0, 1.0]
    assert len(segments) == 3
    unmeasured, _ = rollouts.exposed(MODEL, "r1", "2", "3", None, 100)
    assert unmeasured.business.tolist() == [0.0] * 3


async def test_of_too_many_rows_the_latest_are_weighed(
    observe: Observe, producer: Producer, database: Database
) -> None:
    for version, served in (("2", 4), ("3", 5), ("2", 6)):
        producer.send(producer.batch(served, version=version, rollout_id="r1", step=1))
        await observe.step()
    rollouts = SqliteRollouts(database, 1_000)
    for rows_max, candidates in ((100, 5), (15, 5), (8, 2), (6, 0)):
        rows, segments = rollouts.exposed(MODEL, "r1", "2", "3", None, rows_max)
        assert len(rows) == len(segments) == min(rows_max, 15)
        assert rows.candidate.sum() == candidates
