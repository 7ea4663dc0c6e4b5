"""Label coverage of the arms: a ramp alone is no loss of labels."""

import numpy as np

from contracts.evidence import EvidenceQuery, GuardSpec, StepWindow
from monitor.domain.exposure import Exposed, coverage_of

QUERY = EvidenceQuery(
    model="m",
    rollout_id="r",
    baseline_version="1",
    candidate_version="2",
    paired=False,
    steps=(StepWindow(step=1, weight=0.5, from_us=0),),
    guards=(GuardSpec(name="log_loss", kind="log_loss", alpha=0.05),),
    block_s=1,
)


def rows(block: list[int], candidate: list[bool], labelled: list[bool]) -> Exposed:
    n = len(block)
    whole, real = np.zeros(n, np.int64), np.zeros(n)
    return Exposed(
        key=np.arange(n),
        unit=np.arange(n),
        step=whole,
        at_us=np.array(block, np.int64) * 1_000_000,
        candidate=np.array(candidate),
        outcome=whole,
        latency_us=whole,
        score=real,
        predicted=whole,
        label=np.where(labelled, 1.0, np.nan),
        business=real,
    )


def test_a_candidate_with_younger_rows_has_the_coverage_of_its_neighbours() -> None:
    # Block 0 is all labelled and mostly baseline, block 1 has no label yet and is half and half.
    block = [0] * 10 + [1] * 10
    candidate = [True] + [False] * 9 + [True] * 5 + [False] * 5
    labelled = [True] * 10 + [False] * 10
    baseline, mine = coverage_of(QUERY, rows(block, candidate, labelled))
    assert baseline == mine


def test_labels_that_one_arm_lost_show() -> None:
    block, candidate = [0] * 8, [True] * 4 + [False] * 4
    labelled = [True, False, False, False] + [True] * 4
    assert coverage_of(QUERY, rows(block, candidate, labelled)) == (1.0, 0.25)


def test_without_a_shared_block_there_is_no_coverage_to_compare() -> None:
    assert coverage_of(QUERY, rows([0, 1], [True, False], [True, True])) == (None, None)
