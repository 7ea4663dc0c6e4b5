"""The controller's verdicts: what stops, what holds, what goes on, and the sentence for it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.evidence import ArmCount, Evidence, ShadowPairs
from registry.domain.controller import READY, Loading, decide
from registry.domain.plan import DAY_S
from registry.domain.rollout import Rollout
from registry.domain.verdict import Kind, Verdict
from tests.registry.scenes import (
    HOUR_US,
    NOW_US,
    evidence,
    failing,
    found,
    mismatch,
    plan,
    rollout,
)

LATER = NOW_US + 2 * HOUR_US
ALARM = math.log(1e6)


def verdict(
    state: Rollout, seen: Evidence | None, loading: Loading = READY, now_us: int = LATER
) -> Verdict:
    return decide(state, seen, loading, now_us)


def test_good_evidence_after_the_bake_time_promotes() -> None:
    said = verdict(rollout(), evidence())
    assert said.kind is Kind.PROMOTE
    assert said.sentence == (
        "Promoted to 20 %: no guard shows harm on 5,000 requests of the new version."
    )


def test_a_breached_guard_rolls_back_and_says_effect_interval_limit_and_basis() -> None:
    bad = found(
        "log_loss", estimate=0.031, low=0.021, high=0.051, log_e=ALARM, n_candidate=4210, blocks=6
    )
    said = verdict(rollout(entered=2, plan=plan(block_s=DAY_S)), evidence(bad))
    assert (said.kind, said.reason, said.guard) == (Kind.ROLL_BACK, "guard", "log_loss")
    assert said.sentence == (
        "Rolled back at 20 %: log loss +0.031 nats [0.021, 0.051] against a limit of +0.020 "
        "on 4,210 labels in 6 day blocks."
    )


def test_a_breached_relative_risk_is_told_as_rates_and_times() -> None:
    bad = found(
        "error_rate",
        baseline_value=0.002,
        candidate_value=0.0123,
        estimate=5.15,
        low=2.0,
        high=9.0,
        log_e=ALARM,
    )
    said = verdict(rollout(), evidence(bad))
    assert "error rate 1.23 % against 0.2 %, 6.15 times [3.000, 10.000]," in said.sentence
    assert "a limit of 1.25 times" in said.sentence


def test_an_e_value_just_below_the_threshold_does_not_roll_back() -> None:
    threshold = math.log(1 / plan().guard_alpha)
    just = found("error_rate", log_e=threshold - 1e-9)
    assert verdict(rollout(), evidence(just)).kind is Kind.PROMOTE
    over = found("error_rate", log_e=threshold)
    assert verdict(rollout(), evidence(over)).kind is Kind.ROLL_BACK


def test_alpha_is_shared_by_guards_and_not_by_signals() -> None:
    assert plan().guard_alpha == pytest.approx(0.05 / 3)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (None, "monitor_away"),
        (evidence(sample_ratio=mismatch()), "sample_ratio"),
        (evidence(multiple_exposure_share=0.02), "multiple_exposure"),
        (evidence(lag_s=3600.0), "lag"),
        (evidence(found("score_shift", log_e=ALARM)), "signal"),
        (evidence(found("log_loss", coverage_baseline=0.9, coverage_candidate=0.5)), "coverage"),
        (
            evidence(
                arms=(ArmCount(version="2", requests=10, units=1, errors=0, intended_share=0.05),)
            ),
            "samples",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_doubt_holds_and_says_why(seen: Evidence | None, reason: str) -> None:
    said = verdict(rollout(), seen)
    assert (said.kind, said.reason) == (Kind.HOLD, reason)
    assert said.missing


def test_a_sample_ratio_mismatch_holds_even_when_a_guard_is_breached() -> None:
    bad = evidence(found("error_rate", log_e=ALARM), sample_ratio=mismatch())
    assert verdict(rollout(), bad).reason == "sample_ratio"


def test_harm_rolls_back_even_while_the_monitor_lags() -> None:
    bad = evidence(found("error_rate", log_e=ALARM), lag_s=3600.0)
    assert verdict(rollout(), bad).kind is Kind.ROLL_BACK


def test_a_breaker_needs_no_statistics_and_beats_a_mismatch() -> None:
    broken = evidence(breakers=failing(), sample_ratio=mismatch())
    said = verdict(rollout(), broken, now_us=NOW_US)
    assert (said.kind, said.reason) == (Kind.ROLL_BACK, "breaker_errors")
    assert "30 of the last 40 requests" in said.sentence


def test_a_version_whose_replicas_die_twice_is_taken_back() -> None:
    once, twice = (rollout().model_copy(update={"crashes": n}) for n in (1, 2))
    assert verdict(once, evidence()).kind is Kind.PROMOTE
    said = verdict(twice, None, now_us=NOW_US)
    assert (said.kind, said.reason) == (Kind.ROLL_BACK, "breaker_crash")
    assert said.sentence == "Rolled back at 5 %: replicas that ran it died 2 times."


def test_few_failures_trip_no_breaker() -> None:
    few = evidence(breakers=failing(requests=19, errors=19))
    assert verdict(rollout(), few).kind is Kind.PROMOTE


def test_an_answer_that_is_no_number_rolls_back() -> None:
    broken = evidence(breakers=failing(requests=0, errors=0, nan_answers=1))
    assert verdict(rollout(), broken).reason == "breaker_nan"


def test_new_gaps_in_the_log_hold_until_a_person_resumes() -> None:
    state = rollout().model_copy(update={"gaps_known": 3})
    assert verdict(state, evidence(gaps=3)).kind is Kind.PROMOTE
    assert verdict(state, evidence(gaps=4)).reason == "gaps"


def test_the_bake_time_is_business_time_and_a_clock_that_steps_back_only_waits() -> None:
    assert verdict(rollout(), evidence(), now_us=NOW_US).reason == "bake"
    assert verdict(rollout(), evidence(), now_us=NOW_US - 9 * HOUR_US).reason == "bake"
    assert verdict(rollout(), evidence(), now_us=NOW_US + HOUR_US).kind is Kind.PROMOTE


def test_the_last_step_needs_every_guard_to_be_surely_not_worse() -> None:
    unsure = evidence(found("log_loss", high=0.021))
    assert verdict(rollout(entered=1), unsure).kind is Kind.PROMOTE
    said = verdict(rollout(entered=3), unsure)
    assert (said.kind, said.reason, said.guard) == (Kind.HOLD, "non_inferiority", "log_loss")
    assert verdict(rollout(entered=3), evidence(found("log_loss", high=0.02))).kind is Kind.PROMOTE


def test_a_guard_without_evidence_never_passes_the_last_step() -> None:
    nothing = evidence(found("log_loss", estimate=None, low=None, high=None, n_candidate=0))
    assert verdict(rollout(entered=3), nothing).reason == "non_inferiority"


def test_an_approval_point_holds_until_a_person_approved() -> None:
    state = rollout(plan=plan(approvals=(0.2,)))
    assert verdict(state, evidence()).reason == "approval"
    approved = state.model_copy(update={"approved": (0.2,)})
    assert verdict(approved, evidence()).kind is Kind.PROMOTE


def test_guards_go_on_while_a_rollout_waits_or_is_paused() -> None:
    bad = evidence(found("latency", log_e=ALARM))
    assert verdict(rollout(plan=plan(approvals=(0.2,))), bad).kind is Kind.ROLL_BACK
    paused = rollout().changed(status="paused")
    assert verdict(paused, evidence()).reason == "paused"
    assert verdict(paused, bad).kind is Kind.ROLL_BACK


def test_a_version_takes_traffic_only_when_every_live_replica_has_it() -> None:
    state = rollout(entered=None)
    assert verdict(state, None, Loading(live=0)).reason == "not_ready"
    assert verdict(state, None, Loading(live=2, waiting=("r2",))).reason == "not_ready"
    assert verdict(state, None, Loading(live=2)).sentence.startswith("Promoted to 5 %")


def test_a_version_that_does_not_load_halts_before_and_rolls_back_after_it_took_traffic() -> None:
    failed = Loading(live=2, waiting=("r2",), failures=("r2: wrong golden answer",))
    assert verdict(rollout(entered=None), None, failed).kind is Kind.HALT
    said = verdict(rollout(entered=1), evidence(), failed)
    assert (said.kind, said.reason) == (Kind.ROLL_BACK, "breaker_load")
    assert "wrong golden answer" in said.sentence


def test_a_shadow_that_is_surely_worse_is_halted_and_one_in_doubt_stays() -> None:
    shadow = {"bake_s": 3600, "pairs_min": 1000, "blocks_min": 5}
    state = rollout(entered=0, plan=plan(shadow=shadow))
    assert verdict(state, evidence()).sentence == (
        "Promoted to 5 %: no guard shows harm on 5,000 requests of the new version."
    )
    assert verdict(state, evidence(found("log_loss", blocks=4))).reason == "blocks"
    assert verdict(state, evidence(found("log_loss", high=0.03))).reason == "non_inferiority"
    assert verdict(state, evidence(pairs=ShadowPairs(pairs=10))).reason == "samples"
    said = verdict(state, evidence(found("log_loss", log_e=ALARM)))
    assert said.kind is Kind.HALT
    assert said.sentence.startswith("Halted in shadow: log loss")


def test_a_business_guard_that_a_shadow_cannot_answer_does_not_keep_it_there() -> None:
    guards = [{"name": "clicks", "kind": "business", "metric": "click", "margin": 0.1}]
    made = plan(shadow={"bake_s": 0, "pairs_min": 0}, guards=guards)
    nothing = evidence(found("clicks", estimate=None, low=None, high=None, n_candidate=0))
    assert verdict(rollout(entered=0, plan=made), nothing).kind is Kind.PROMOTE
    assert verdict(rollout(entered=3, plan=made), nothing).reason == "non_inferiority"


def test_no_decision_for_too_long_halts_but_waiting_for_a_person_does_not() -> None:
    late = NOW_US + 4 * HOUR_US
    state = rollout(entered=3, plan=plan(step_s_max=3 * 3600))
    unsure = evidence(found("log_loss", high=1.0))
    said = verdict(state, unsure, now_us=late)
    assert (said.kind, said.reason) == (Kind.HALT, "timeout")
    waiting = rollout(entered=3, plan=plan(step_s_max=3 * 3600, approvals=(1.0,)))
    assert verdict(waiting, evidence(), now_us=late).reason == "approval"


@given(
    log_e=st.floats(-50, 50),
    gap=st.integers(0, 5),
    lag_s=st.floats(0, 1e4),
    exposure=st.floats(0, 0.1),
    hours=st.integers(-5, 50),
    step=st.integers(1, 4),
)
def test_every_verdict_is_one_sentence_and_insufficient_data_never_moves_traffic(
    log_e: float, gap: int, lag_s: float, exposure: float, hours: int, step: int
) -> None:
    seen = evidence(
        found("error_rate", log_e=log_e),
        arms=(),
        gaps=gap,
        lag_s=lag_s,
        multiple_exposure_share=exposure,
    )
    said = verdict(rollout(entered=step), seen, now_us=NOW_US + hours * HOUR_US)
    assert said.sentence.endswith(".")
    assert said.kind in (Kind.HOLD, Kind.ROLL_BACK)
    assert (said.kind is Kind.ROLL_BACK) <= (log_e >= math.log(1 / plan().guard_alpha))
