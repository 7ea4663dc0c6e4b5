from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.gcra import Policy, lease, refund

POLICIES = st.builds(Policy, st.integers(1, 10_000), st.integers(1, 100)).filter(
    lambda policy: policy.quota_rows <= policy.window_s * 1_000_000
)
STEPS = st.lists(
    st.tuples(st.integers(0, 10_000_000), st.integers(1, 500), st.integers(0, 500)), max_size=60
)


@given(POLICIES, STEPS)
def test_no_window_sees_more_than_the_quota_and_what_it_brought_back(
    policy: Policy, steps: list[tuple[int, int, int]]
) -> None:
    now_us = tat_us = 1_700_000_000_000_000
    granted: list[tuple[int, int]] = []
    for wait_us, least, more in steps:
        now_us += wait_us
        grant = lease(policy, tat_us, now_us, least + more, least)
        tat_us = grant.tat_us
        granted.append((now_us, grant.rows))
    for first, (began_us, _) in enumerate(granted):
        spent = 0
        for at_us, rows in granted[first:]:
            spent += rows
            back = (at_us - began_us) // policy.emission_us + 1
            assert spent <= policy.quota_rows + back


@given(POLICIES, STEPS, st.integers(1, 10_000))
def test_a_retry_at_the_time_told_succeeds_and_one_before_does_not(
    policy: Policy, steps: list[tuple[int, int, int]], least: int
) -> None:
    now_us, tat_us = 1_700_000_000_000_000, 0
    for wait_us, cost, more in steps:
        now_us += wait_us
        tat_us = lease(policy, tat_us, now_us, cost + more, cost).tat_us
    least = min(least, policy.quota_rows)
    refused = lease(policy, tat_us, now_us, least, least)
    if refused.rows == 0:
        assert lease(policy, tat_us, now_us + refused.retry_us, least, least).rows == least
        assert lease(policy, tat_us, now_us + refused.retry_us - 1, least, least).rows == 0


@given(POLICIES, st.integers(1, 10_000))
def test_a_refund_undoes_a_lease(policy: Policy, rows: int) -> None:
    now_us = 1_700_000_000_000_000
    grant = lease(policy, now_us, now_us, rows, 1)
    assert refund(policy, grant.tat_us, grant.rows) == now_us


def test_the_numbers_of_one_policy() -> None:
    policy = Policy(100, 60)
    grant = lease(policy, 0, 10, 100, 1)
    assert (grant.rows, grant.remaining_rows, grant.retry_us) == (100, 0, 0)
    assert lease(policy, grant.tat_us, 10, 1, 1).retry_us == 600_000
    assert policy.share(3).quota_rows == 33
