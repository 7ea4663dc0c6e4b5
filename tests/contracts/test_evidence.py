"""Questions that no monitor could compute are refused where they are read."""

import pytest
from pydantic import ValidationError

from contracts.evidence import EvidenceQuery

SOUND = {
    "model": "delay",
    "rollout_id": "r",
    "baseline_version": "1",
    "candidate_version": "2",
    "paired": False,
    "steps": [{"step": 0, "weight": 0.05, "from_us": 0}],
    "guards": [{"name": "errors", "kind": "error_rate", "alpha": 0.05}],
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_s": 10**20},
        {"steps": [{"step": 0, "weight": 0.05, "from_us": 2**63}]},
        {"steps": [{"step": 0, "weight": 0.05, "from_us": 0, "until_us": -1}]},
        {"guards": [{"name": "errors", "kind": "brier", "alpha": 0.05, "margin": 1e308}]},
        {"guards": [{"name": "slow", "kind": "latency", "alpha": 0.05, "slo_ms": 0}]},
    ],
    ids=str,
)
def test_what_could_not_be_computed_is_refused(wrong: dict[str, object]) -> None:
    EvidenceQuery.model_validate(SOUND)
    with pytest.raises(ValidationError):
        EvidenceQuery.model_validate(SOUND | wrong)
