"""What predictions turned out to be worth, and what to expect before labels come; one window."""

from dataclasses import asdict
from typing import Any

import numpy as np

from contracts.manifest import Manifest
from contracts.profile import QualityProfile
from contracts.served import EXPLORED
from monitor.domain import calibration, expectation, policy_value, quality, scoring
from monitor.domain.rows import DAY_US
from monitor.domain.scored import Scored


def appraise(
    scored: Scored,
    task: str,
    profile: QualityProfile | None,
    rows_min: int,
    classes: int | None = None,
) -> dict[str, Any]:
    """Quality over the labelled predictions with intervals by day, calibration, the expected
    quality of all predictions (CBPE), concept drift and prior shift. JSON values; a member is
    None where it is not defined. Of more than two ``classes`` only the accuracy is: what was served
    holds the probability of the last class, not that of the true one. What a ``raw`` model gives
    may be anything: only the means are told."""
    known = scored.only(scored.labelled)
    n = len(known)
    answer: dict[str, Any] = {
        "state": "OK" if n >= rows_min else "INSUFFICIENT_DATA",
        "n": n,
        "mean_prediction": float(known.score.mean()) if n else None,
        "mean_label": float(known.label.mean()) if n else None,
    }
    if task == "regression":
        found = quality.regression(known.score, known.label, _days(known))
        return answer if found is None else {**answer, **_flat(asdict(found))}
    if task == "raw":
        return answer | {"expected": None, "concept_drift": None, "prior_shift": None}
    if classes is not None and classes > 2:
        return answer | _of_many(known)
    answer |= _expected(scored, known, profile)
    if n:
        answer |= _classified(known)
    return answer


def _of_many(known: Scored) -> dict[str, Any]:
    undefined = {"mean_prediction": None, "mean_label": None, "expected": None}
    if not len(known):
        return undefined
    found = quality.accuracy(known.predicted == known.label, _days(known))
    return {**undefined, "rows": len(known), **_flat({"accuracy": asdict(found)})}


def _classified(known: Scored) -> dict[str, Any]:
    truth = known.label > 0.5
    found = quality.classification(known.score, truth, decided(known), _days(known))
    assert found is not None
    error, sums = calibration.calibration(known.score, truth)
    bins = scoring.reliability(known.score, truth)
    return {
        **_flat(asdict(found)),
        "calibration": {
            "rmsce": error.rmsce,
            "ece": error.ece,
            "spiegelhalter_z": sums.z,
            "p": sums.p,
            "p_by_day": calibration.p_by_day(known.score, truth, _days(known)),
            "reliability": [bin_.model_dump() for bin_ in bins],
        },
    }


def _expected(scored: Scored, known: Scored, profile: QualityProfile | None) -> dict[str, Any]:
    answered = scored.only(np.isfinite(scored.score))
    if profile is None or not len(answered):
        return {"expected": None, "concept_drift": None, "prior_shift": None}
    curve = expectation.recalibrate(profile.calibration)
    if curve is None:
        return {"expected": None, "concept_drift": None, "prior_shift": None}
    expected = expectation.expect(curve, answered.score, decided(answered))
    assert expected is not None
    drift = None
    if len(known):
        of_known = expectation.expect(curve, known.score, decided(known))
        assert of_known is not None
        losses = scoring.log_losses(known.score, known.label > 0.5)
        drift = expectation.concept_drift(losses, of_known.log_loss, _days(known))
    prior = expectation.prior_shift(profile, decided(answered), _days(answered))
    return {
        "expected": {
            "accuracy": expected.accuracy.value,
            "accuracy_interval": [expected.accuracy.low, expected.accuracy.high],
            "log_loss": expected.mean_log_loss,
            "brier": expected.mean_brier,
            "positive_rate": expected.positive_rate,
            "n": len(answered),
        },
        "concept_drift": None if drift is None else asdict(drift),
        "prior_shift": {"refused": prior} if isinstance(prior, str) else _plain(asdict(prior)),
    }


def explored(scored: Scored, manifest: Manifest | None) -> dict[str, Any] | None:
    """Feedback loop: the share of explored decisions against the configured one, the weights, and
    the accuracy that always exploiting would have had (SNIPS, and doubly robust with the scores as
    the reward model), or why it is refused. None without exploration."""
    post = manifest.post_processing if manifest else None
    if post is None or post.exploration_epsilon == 0:
        return None
    answered = scored.only(np.isfinite(scored.score) & (scored.predicted >= 0))
    share = policy_value.exploration((answered.flags & EXPLORED) > 0, post.exploration_epsilon)
    answer = {**asdict(share), "agrees": share.agrees}
    if not len(answered):
        return answer
    limit = post.threshold.value if post.threshold else 0.5
    best = (answered.score >= limit).astype(np.int64)
    target = (answered.predicted == best).astype(np.float64)
    weights = policy_value.overlap(target, answered.propensity)
    known = np.isfinite(answered.label)
    right = (answered.predicted == answered.label)[known].astype(np.float64)
    positive = answered.score[known]
    of_logged = np.where(answered.predicted[known] == 1, positive, 1 - positive)
    of_best = np.where(best[known] == 1, positive, 1 - positive)
    given = (target[known], answered.propensity[known], right)
    return {
        **answer,
        "weights": _plain(asdict(weights)),
        "snips": _estimate(policy_value.snips(*given)),
        "doubly_robust": _estimate(policy_value.doubly_robust(*given, of_logged, of_best)),
    }


def _estimate(found: quality.Estimate | policy_value.Refused) -> dict[str, Any]:
    if isinstance(found, policy_value.Refused):
        return {"refused": found.reason}
    plain: dict[str, Any] = _plain(asdict(found))
    return plain


def completeness(scored: Scored, now_us: int, due_us: int) -> dict[str, Any]:
    """Shares of answered predictions with a label: of all, and of those old enough to have one;
    and by age in days."""
    answered = np.isfinite(scored.score)
    due = answered & (scored.at_us <= now_us - due_us)
    labelled = scored.labelled
    age = np.maximum(now_us - scored.at_us, 0) // DAY_US
    return {
        "predictions": int(answered.sum()),
        "completeness": _share(labelled, answered),
        "due": int(due.sum()),
        "completeness_due": _share(labelled, due),
        "completeness_by_age_days": {
            str(days): _share(labelled, answered & (age == days))
            for days in np.unique(age[answered])[:60].tolist()
        },
    }


def decided(scored: Scored) -> Any:
    """Whether the served decision was the positive class, shape [n]."""
    return np.where(scored.predicted >= 0, scored.predicted >= 1, scored.score >= 0.5)


def _share(part: Any, whole: Any) -> float | None:
    return float((part & whole).sum() / whole.sum()) if whole.any() else None


def _days(scored: Scored) -> Any:
    return scored.at_us // DAY_US


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """``{"accuracy": {value, low, high}}`` as ``accuracy`` and ``accuracy_interval``."""
    flat: dict[str, Any] = {}
    for name, value in _plain(found).items():
        if isinstance(value, dict):
            flat[name] = value["value"]
            flat[f"{name}_interval"] = [value["low"], value["high"]]
        else:
            flat[name] = value
    return flat


def _plain(value: Any) -> Any:
    """JSON has no infinity: an open end of an interval is None."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
