"""Counts add up: over batches, hours and segments, to what one count of everything gives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.profile import BaselineProfile
from monitor.domain.rows import HOUR_US, Lane, Rows
from monitor.domain.tally import Layout, Volume, fold_volumes, no_volume, volume_facts
from tests.monitor.world import NOW_US, baseline_bytes

LAYOUT = Layout("sha", BaselineProfile.model_validate_json(baseline_bytes()), (), 8)


def rows(n: int, seed: int = 0, hours: int = 3, **changed: Any) -> Rows:
    random = np.random.default_rng(seed)
    score = random.beta(2, 6, n)
    values: dict[str, Any] = {
        "lane": Lane("delay", "2", "production"),
        "keys": np.frombuffer(random.bytes(18 * n), "V18"),
        "units": tuple("u" for _ in range(n)),
        "event_us": NOW_US + random.integers(0, hours * HOUR_US, n),
        "latency_us": random.integers(100, 10_000, n),
        "outcome": np.zeros(n, np.uint8),
        "flags": np.zeros(n, np.uint8),
        "predicted": (score > 0.5).astype(np.int64),
        "score": score,
        "confidence": np.maximum(score, 1 - score),
        "propensity": np.ones(n),
        "numbers": {"distance": random.normal(1000, 200, n), "late_7d": random.beta(2, 8, n)},
        "strings": {"origin": random.choice(["EWR", "JFK", "LGA"], n).astype(object)},
        "statuses": {k: np.zeros(n, np.uint8) for k in ("distance", "late_7d", "origin")},
    }
    return Rows(**(values | changed))


@given(st.integers(1, 80), st.integers(0, 80))
@settings(max_examples=25, deadline=None)
def test_counts_of_halves_add_up_to_the_counts_of_the_whole(n: int, cut: int) -> None:
    whole = rows(n)
    first = np.arange(n) < cut
    parts = [LAYOUT.fold(half) for half in (whole.only(first), whole.only(~first)) if len(half)]
    added: dict[Any, Any] = {}
    for part in parts:
        for key, cell in part.items():
            added[key] = added[key] + cell if key in added else cell
    together = LAYOUT.fold(whole)
    assert added.keys() == together.keys()
    for key, cell in together.items():
        assert (added[key].integers == cell.integers).all()
        assert added[key].sums == pytest.approx(cell.sums)


def test_segments_partition_the_rows() -> None:
    found = LAYOUT.fold(rows(200, hours=1))
    hour = NOW_US // HOUR_US
    parts = [LAYOUT.column(found[hour, f"origin={o}"], "distance") for o in ("EWR", "JFK", "LGA")]
    whole = LAYOUT.column(found[hour, ""], "distance")
    assert sum(part.fact("rows") for part in parts) == whole.fact("rows") == 200
    added = parts[0] + parts[1] + parts[2]
    assert (added.cells == whole.cells).all()


def test_volumes_count_every_outcome_and_the_latency() -> None:
    outcome = np.array([0, 0, 1, 3, 4, 6], np.uint8)
    some = rows(6, hours=1, outcome=outcome, latency_us=np.full(6, 5_000))
    (volume,) = fold_volumes(some).values()
    assert [volume.count(name) for name in ("rows", "ok", "invalid_input", "model_error")] == [
        6,
        2,
        1,
        1,
    ]
    facts = volume_facts(volume)
    assert facts["nan_answer"] == facts["dependency"] == 1
    assert 5.0 <= facts["latency_p50_ms"] <= 6.4
    assert volume_facts(no_volume())["latency_p99_ms"] is None


def test_constant_answers_never_change() -> None:
    constant = rows(50, hours=1, score=np.full(50, 0.25))
    (volume,) = fold_volumes(constant).values()
    assert volume.count("changes") == 0
    varied = sum(fold_volumes(rows(50, hours=1)).values(), no_volume())
    assert isinstance(varied, Volume)
    assert varied.count("changes") == 49
