"""What a version said of one group of rows, and the record of it that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.served import CACHED, DEGRADED, EXPLORED, ServedBatch, Stacked
from inference.domain.asked import Group
from inference.domain.fleet import Computed, LoadedVersion, ServedModel
from inference.domain.inputs import UNAVAILABLE, Taken
from inference.domain.post_process import Verdicts


@dataclass(frozen=True, slots=True)
class Served:
    """What one version said of one group."""

    group: Group
    now_us: int
    work_us: int
    """The model's own work: features, compute, post-processing."""
    taken: Taken
    verdicts: Verdicts
    outcome: npt.NDArray[np.uint8]
    failed: bool
    """Whether any row's outcome is not 0."""
    cached: npt.NDArray[np.bool_] | None = None
    """Which rows were remembered; None where the version keeps no answers."""
    watermark: int | None = None
    """Position in the feature log; given for the groups whose first row goes into the sample by
    which the feature store verifies what was served."""


@dataclass(frozen=True, slots=True)
class RawServed:
    """What one run of a version said to some calls that brought their own tensors."""

    loaded: LoadedVersion
    route: ServedModel | None
    epoch: int
    request_ids: bytes
    """16 bytes a call."""
    units: tuple[str, ...]
    now_us: int
    work_us: int
    computed: Sequence[Computed]
    """Of each call."""


def raw_batch_of(served: RawServed) -> ServedBatch:
    """The record of calls with tensors: one row each, without features.

    The score is the last number of the first output where the call has one row, else NaN.
    """
    n, route = len(served.units), None if served.route is None else served.route.route
    arms = () if route is None else route.arms
    arm = next((one for one in arms if one.version == served.loaded.version), None)
    return ServedBatch(
        model=served.loaded.model,
        version=served.loaded.version,
        variant="production" if arm is None else arm.variant,
        epoch=served.epoch,
        rollout_id=None if route is None else route.rollout_id,
        step=0 if route is None else route.step,
        arm="" if arm is None else arm.name,
        units=served.units,
        event_us=np.full(n, served.now_us, np.int64),
        request_id=np.frombuffer(served.request_ids, "V16"),
        row=np.zeros(n, np.uint16),
        latency_us=np.full(n, min(served.work_us, 2**32 - 1), np.uint32),
        outcome=np.array([one.outcome.max(initial=0) for one in served.computed], np.uint8),
        flags=np.zeros(n, np.uint8),
        predicted=np.full(n, -1, np.int32),
        score=np.array([_raw_score(one) for one in served.computed]),
        confidence=np.full(n, np.nan),
        propensity=np.ones(n, np.float32),
    )


def _raw_score(computed: Computed) -> float:
    first = computed.outputs[0]
    if len(computed.outcome) != 1 or computed.outcome[0] or not first.size or first.dtype == object:
        return float("nan")
    return float(first.reshape(-1)[-1])


def first_outcome(*stages: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Of each row, the outcome of the first stage in which it did not go well, or 0."""
    outcome = stages[0]
    for later in stages[1:]:
        if np.count_nonzero(later):  # a fifth of what ``any`` costs a small array
            outcome = np.where(outcome == 0, later, outcome)
    return outcome


def batch_of(served: Served) -> ServedBatch:
    """The record of one group."""
    group, taken, verdicts = served.group, served.taken, served.verdicts
    n = len(group.rows)
    plan = group.loaded.inputs
    number_rows = len(plan.number_names)
    return ServedBatch(
        model=group.model.name,
        version=group.loaded.version,
        variant=group.arm.variant,
        epoch=group.epoch,
        rollout_id=group.model.route.rollout_id,
        step=group.model.route.step,
        arm=group.arm.name,
        units=tuple(group.units),
        event_us=np.full(n, served.now_us, np.int64),
        request_id=_request_ids(group),
        row=np.array(group.indices, np.uint16),
        latency_us=np.full(n, min(served.work_us, 2**32 - 1), np.uint32),
        outcome=served.outcome,
        flags=_flags(served, n),
        predicted=_where_fine(served, verdicts.predicted, -1),
        score=_where_fine(served, verdicts.score, np.nan),
        confidence=_where_fine(served, verdicts.confidence, np.nan),
        propensity=verdicts.propensity,
        numbers=Stacked(plan.number_names, taken.numbers),
        strings={
            name: tuple(values)
            for name, values in zip(plan.names[number_rows:], taken.strings, strict=True)
        },
        statuses=Stacked(plan.names, taken.statuses),
        client_request_ids=_client_ids(group),
        policy_id=group.loaded.policy_id,
        lineage=() if served.watermark is None else (_lineage(served, served.watermark),),
    )


def _where_fine(served: Served, values: npt.NDArray[Any], otherwise: float) -> npt.NDArray[Any]:
    return np.where(served.outcome != 0, otherwise, values) if served.failed else values


def _request_ids(group: Group) -> npt.NDArray[np.void]:
    ids = np.frombuffer(b"".join([one.arrival.ask.request_id for one in group.owners]), "V16")
    return ids if len(group.owners) == len(group.rows) else np.repeat(ids, group.counts)


def _client_ids(group: Group) -> tuple[str, ...]:
    clients = [asked.arrival.ask.headers for asked in group.owners]
    if not any(clients):
        return ()
    named = zip(clients, group.counts, strict=True)
    return tuple(name.decode("utf-8", "replace") for name, count in named for _ in range(count))


def _lineage(served: Served, watermark: int) -> dict[str, Any]:
    """How the features of the group's first row came about; their values stand in its columns."""
    row, loaded = served.group.rows[0], served.group.loaded
    return {
        "row": 0,
        "now_us": served.now_us,
        "watermark": watermark,
        "service": loaded.manifest.feature_service,
        "fingerprint": loaded.manifest.feature_fingerprint,
        "keys": {key: row.get(key) for key in loaded.manifest.entity_keys},
        "refs": loaded.inputs.refs,
    }


def _flags(served: Served, n: int) -> npt.NDArray[np.uint8]:
    flags = np.zeros(n, np.uint8)
    if served.cached is not None:
        flags |= served.cached * np.uint8(CACHED)
    if served.verdicts.explored is not None:
        flags |= served.verdicts.explored * np.uint8(EXPLORED)
    if not served.taken.clean:
        away = (served.taken.statuses == UNAVAILABLE).any(axis=0)
        flags |= away * np.uint8(DEGRADED)
    return flags
