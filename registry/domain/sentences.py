"""Numbers in words: the sentences that verdicts are made of."""

from contracts.evidence import GuardEvidence
from registry.domain.plan import DAY_S, HOUR_S, LABEL_KINDS, RISK_KINDS, GuardPlan
from registry.domain.rollout import percent

RISK_TOLD_MAX = 198.0
"""The monitor looks for relative risks up to 200; at the end of its search the number is no more
than "very many"."""


def harm_of(guard: GuardPlan, found: GuardEvidence) -> str:
    """``log-loss +0.031 [0.012, 0.051] against a limit of +0.020 on 4,210 labels in 6 day …``."""
    return f"{effect_of(guard, found)} against a limit of {limit_of(guard, guard.margin)}"


def effect_of(guard: GuardPlan, found: GuardEvidence) -> str:
    """The guard's name, its effect and its interval."""
    name = guard.name.replace("_", " ")
    if guard.kind == "latency":
        name = f"answers over {guard.slo_ms:g} ms"
    if found.estimate is None:
        return f"{name} without an estimate yet"
    if guard.kind in RISK_KINDS:
        rates = f"{_rate(found.candidate_value)} against {_rate(found.baseline_value)}"
        interval = _interval(found.low, found.high, shift=1.0)
        times = "over 199" if found.estimate >= RISK_TOLD_MAX else f"{1 + found.estimate:.2f}"
        return f"{name} {rates}, {times} times{interval},"
    unit = f" {guard.unit}" if guard.unit else ""
    return f"{name} {found.estimate:+.3f}{unit}{_interval(found.low, found.high)}"


def limit_of(guard: GuardPlan, limit: float) -> str:
    """The limit in the same terms as the effect."""
    if guard.kind in RISK_KINDS:
        return f"{1 + limit:.2f} times"
    return f"{limit if guard.direction == 'higher_is_worse' else -limit:+.3f}"


def basis_of(guard: GuardPlan, found: GuardEvidence, block_s: int) -> str:
    """``on 4,210 labels in 6 day blocks``."""
    what = "labels" if guard.kind in LABEL_KINDS else "requests"
    return f"on {found.n_candidate:,} {what} in {blocks(found.blocks, block_s)}"


def blocks(count: int, block_s: int) -> str:
    """``6 day blocks``, ``1 hour block``."""
    plural = "" if count == 1 else "s"
    if block_s == DAY_S:
        return f"{count} day block{plural}"
    if block_s == HOUR_S:
        return f"{count} hour block{plural}"
    return f"{count} block{plural} of {duration(block_s)}"


def duration(seconds: float) -> str:
    """``48 h``, ``5 min``, ``3 d``."""
    for unit, size in (("d", DAY_S), ("h", HOUR_S), ("min", 60)):
        if seconds >= size * (2 if unit == "d" else 1):
            return f"{seconds / size:.3g} {unit}"
    return f"{max(seconds, 0):.3g} s"


def _interval(low: float | None, high: float | None, shift: float = 0.0) -> str:
    if low is None or high is None:
        return " (no interval yet)"
    return f" [{low + shift:.3f}, {high + shift:.3f}]"


def _rate(share: float | None) -> str:
    return "none" if share is None else percent(round(share, 5))
