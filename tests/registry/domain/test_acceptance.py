"""Non-inferiority: the harmful end of the interval, and bad shares that are surely small."""

from hypothesis import given
from hypothesis import strategies as st

from registry.domain.acceptance import is_acceptable, rate_bound
from registry.domain.plan import GuardPlan
from tests.registry.scenes import found, plan


def test_lower_is_worse_reads_the_other_end_of_the_interval() -> None:
    accuracy = GuardPlan(name="accuracy", kind="accuracy", direction="lower_is_worse", margin=0.01)
    assert is_acceptable(accuracy, found("accuracy", low=-0.01, high=0.2), 0.05)
    assert not is_acceptable(accuracy, found("accuracy", low=-0.011, high=0.2), 0.05)


def test_no_error_in_many_requests_is_acceptable_at_any_ratio() -> None:
    errors = plan().guards[0]
    none = {"estimate": None, "low": None, "high": None, "candidate_value": 0.0}
    assert is_acceptable(errors, found("error_rate", n_candidate=2_000, **none), 0.0125)
    assert not is_acceptable(errors, found("error_rate", n_candidate=200, **none), 0.0125)


@given(n=st.integers(1, 10**7), rate=st.floats(0, 1), alpha=st.floats(1e-4, 0.2))
def test_the_rate_bound_is_above_the_rate_and_at_most_one(
    n: int, rate: float, alpha: float
) -> None:
    bound = rate_bound(found("error_rate", n_candidate=n, candidate_value=rate), alpha)
    assert min(1.0, rate) <= bound <= 1.0
