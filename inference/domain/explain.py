"""What an answer says of its features: what was degraded, and, when asked, every value."""

from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.served import STATUSES
from inference.domain.inputs import NULL_VALUE, Features, InputPlan, Taken


def degraded_rows(taken: Taken) -> npt.NDArray[np.bool_] | None:
    """Which rows have a value that is neither present nor a stored null; None when none has."""
    if taken.clean:
        return None
    bad = np.any(taken.statuses > NULL_VALUE, axis=0)
    return bad if bad.any() else None


def degraded(plan: InputPlan, taken: Taken, start: int, end: int) -> list[dict[str, Any]]:
    """Per feature and status, how many of these rows it concerns."""
    found = []
    for name, statuses in zip(plan.names, taken.statuses[:, start:end], strict=True):
        for status in np.unique(statuses):
            if status > NULL_VALUE:
                count = int((statuses == status).sum())
                found.append({"feature": name, "status": STATUSES[status], "rows": count})
    return found


def explained(
    plan: InputPlan,
    taken: Taken,
    features: Features,
    start: int,
    end: int,
) -> list[dict[str, Any]]:
    """Of each of these rows: every input's value, status and age in seconds (null: no age)."""
    values = [*taken.numbers.tolist(), *taken.strings]
    rows = []
    for row in range(start, end):
        shown: dict[str, Any] = {}
        for index, name in enumerate(plan.names):
            status = int(taken.statuses[index, row])
            ref = plan.refs.get(name)
            age_s = None
            if features is not None and ref is not None and status <= NULL_VALUE:
                age_us = int(features[ref].age_us[row])
                age_s = age_us / 1e6 if age_us >= 0 else None  # aggregates are about now
            shown[name] = {
                "value": values[index][row],
                "status": STATUSES[status],
                "age_s": age_s,
            }
        rows.append(shown)
    return rows
