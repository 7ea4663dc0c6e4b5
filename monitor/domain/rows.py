"""Served rows as the monitor handles them: all that one version answered in a micro-batch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.served import ServedBatch, Stacked
from monitor.domain.edges import Floats

Bytes = npt.NDArray[np.uint8]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

KEY_BYTES = 18
"""16 bytes of request id and the row number, little-endian."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Under which decision a row was served; rows of one lane differ only in themselves."""

    model: str
    version: str
    variant: str
    rollout_id: str = ""
    step: int = 0
    arm: str = ""
    policy_id: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows of one lane; arrays have shape [n]. ``keys`` are KEY_BYTES each."""

    lane: Lane
    keys: tuple[bytes, ...]
    units: tuple[str, ...]
    event_us: npt.NDArray[np.int64]
    latency_us: npt.NDArray[np.int64]
    outcome: Bytes
    flags: Bytes
    predicted: npt.NDArray[np.int64]
    score: Floats
    confidence: Floats
    propensity: Floats
    numbers: dict[str, Floats] = field(default_factory=dict)
    strings: dict[str, npt.NDArray[np.object_]] = field(default_factory=dict)
    statuses: dict[str, Bytes] = field(default_factory=dict)
    client_ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.event_us)

    def only(self, kept: npt.NDArray[np.bool_]) -> "Rows":
        """The rows where ``kept`` [n] is true."""
        if kept.all():
            return self
        at = np.flatnonzero(kept).tolist()
        return Rows(
            self.lane,
            tuple(self.keys[i] for i in at),
            tuple(self.units[i] for i in at),
            self.event_us[kept],
            self.latency_us[kept],
            self.outcome[kept],
            self.flags[kept],
            self.predicted[kept],
            self.score[kept],
            self.confidence[kept],
            self.propensity[kept],
            {name: values[kept] for name, values in self.numbers.items()},
            {name: values[kept] for name, values in self.strings.items()},
            {name: values[kept] for name, values in self.statuses.items()},
            tuple(self.client_ids[i] for i in at) if self.client_ids else (),
        )


def lane_of(batch: ServedBatch) -> Lane:
    """The lane of a record."""
    return Lane(
        batch.model,
        batch.version,
        batch.variant,
        batch.rollout_id or "",
        batch.step,
        batch.arm,
        batch.policy_id,
    )


def gather(batches: Iterable[ServedBatch]) -> list[Rows]:
    """Records joined to one ``Rows`` per lane and schema, in order of arrival."""
    groups: dict[tuple[Lane, tuple[str, ...], tuple[str, ...]], list[ServedBatch]] = defaultdict(
        list
    )
    for batch in batches:
        groups[lane_of(batch), tuple(batch.numbers), tuple(batch.strings)].append(batch)
    return [_join(lane, group) for (lane, _, _), group in groups.items()]


def _join(lane: Lane, group: Sequence[ServedBatch]) -> Rows:
    first = group[0]
    request_ids = b"".join([batch.request_id.tobytes() for batch in group])
    row = np.concatenate([batch.row for batch in group])
    numbered = row.astype("<u2").tobytes()
    clients: tuple[str, ...] = ()
    if any(batch.client_request_ids for batch in group):
        clients = tuple(
            name for batch in group for name in (batch.client_request_ids or ("",) * len(batch))
        )
    return Rows(
        lane=lane,
        keys=tuple(
            request_ids[16 * i : 16 * i + 16] + numbered[2 * i : 2 * i + 2] for i in range(len(row))
        ),
        units=tuple(unit for batch in group for unit in batch.units),
        event_us=np.concatenate([batch.event_us for batch in group]),
        latency_us=np.concatenate([batch.latency_us for batch in group]).astype(np.int64),
        outcome=np.concatenate([batch.outcome for batch in group]),
        flags=np.concatenate([batch.flags for batch in group]),
        predicted=np.concatenate([batch.predicted for batch in group]).astype(np.int64),
        score=np.concatenate([batch.score for batch in group]),
        confidence=np.concatenate([batch.confidence for batch in group]),
        propensity=np.concatenate([batch.propensity for batch in group]).astype(np.float64),
        numbers=_side_by_side([batch.numbers for batch in group], tuple(first.numbers)),
        strings={
            name: np.array(
                [value for batch in group for value in batch.strings[name]], dtype=object
            )
            for name in first.strings
        },
        statuses=_side_by_side(
            [batch.statuses for batch in group], (*first.numbers, *first.strings)
        ),
        client_ids=clients,
    )


def _side_by_side(
    columns: Sequence[Mapping[str, npt.NDArray[Any]]], names: tuple[str, ...]
) -> dict[str, npt.NDArray[Any]]:
    """Each column, joined over the records; matrices in one call, where a call a column would cost
    a thousand records of one row 20 ms."""
    stacked = [one.matrix for one in columns if isinstance(one, Stacked) and one.names == names]
    if len(stacked) == len(columns):
        return dict(zip(names, np.concatenate(stacked, axis=1), strict=True))
    return {name: np.concatenate([one[name] for one in columns]) for name in names}
