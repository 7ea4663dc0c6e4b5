"""Non-inferiority: is a guard surely not worse than its limit?"""

import math

from contracts.evidence import GuardEvidence
from registry.domain.plan import RISK_KINDS, GuardPlan


def is_acceptable(guard: GuardPlan, found: GuardEvidence, alpha: float) -> bool:
    """Whether the harmful end of the interval lies within the guard's limit."""
    negligible = guard.negligible_rate if guard.kind in RISK_KINDS else None
    if negligible is not None and rate_bound(found, alpha) <= negligible:
        return True
    if guard.direction == "higher_is_worse":
        return found.high is not None and found.high <= guard.limit
    return found.low is not None and found.low >= -guard.limit


def rate_bound(found: GuardEvidence, alpha: float) -> float:
    """Upper bound of the candidate's bad share: x + sqrt(2 x L) + L over n, x the bad count.

    L = ln(2/α) + 2 ln ln(e·n): a Chernoff bound of a Poisson count, widened by the iterated
    logarithm so that it may be looked at again and again.
    """
    n = found.n_candidate
    if n == 0:
        return 1.0
    bad = (found.candidate_value or 0.0) * n
    log = math.log(2 / alpha) + 2 * math.log(math.log(math.e * n) + 1)
    return min(1.0, (bad + math.sqrt(2 * bad * log) + log) / n)
