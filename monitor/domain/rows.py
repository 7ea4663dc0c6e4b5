"""Served rows as the monitor handles them: all that one version answered in a micro-batch."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from contracts.served import Sealed, unseal
from monitor.domain.edges import Floats

Bytes = npt.NDArray[np.uint8]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

REQUEST_BYTES = 16
KEY_BYTES = 18
"""Of a request id, and of a prediction's key: the request id and the row number, little-endian."""
Keys = npt.NDArray[np.void]
"""dtype V18: keys of predictions."""


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
    """n rows of one lane; arrays have shape [n]."""

    lane: Lane
    keys: Keys
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
            self.keys[kept],
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


def lane_of(record: Sealed) -> Lane:
    """The lane of a record."""
    head = record.head
    return Lane(
        head["model"],
        head["version"],
        head["variant"],
        head["rollout_id"] or "",
        head["step"],
        head["arm"],
        head["policy_id"],
    )


_lane_values = itemgetter("model", "version", "variant", "rollout_id", "step", "arm", "policy_id")


@dataclass(frozen=True, slots=True)
class _Group:
    """Records of one lane with the same feature columns."""

    numbers: list[str]
    strings: list[str]
    records: list[Sealed]


def gather(records: Iterable[Sealed]) -> list[Rows]:
    """Records joined to one ``Rows`` per lane and schema, in order of arrival."""
    lanes: dict[tuple[object, ...], list[_Group]] = defaultdict(list)
    for record in records:
        head = record.head
        groups = lanes[_lane_values(head)]
        for group in groups:  # comparing names is cheaper than hashing them
            if group.numbers == head["numbers"] and group.strings == list(head["strings"]):
                group.records.append(record)
                break
        else:
            groups.append(_Group(head["numbers"], list(head["strings"]), [record]))
    found = [group.records for groups in lanes.values() for group in groups]
    return [_join(lane_of(group[0]), group) for group in found]


def _join(lane: Lane, group: Sequence[Sealed]) -> Rows:
    columns = unseal(group)
    fixed = columns.fixed
    clients: tuple[str, ...] = ()
    if any(record.head["client_request_ids"] for record in group):
        clients = tuple(
            name
            for record in group
            for name in (record.head["client_request_ids"] or ("",) * record.rows)
        )
    return Rows(
        lane=lane,
        keys=_keys(fixed["request_id"], fixed["row"]),
        units=columns.units,
        event_us=fixed["event_us"],
        latency_us=fixed["latency_us"].astype(np.int64),
        outcome=fixed["outcome"],
        flags=fixed["flags"],
        predicted=fixed["predicted"].astype(np.int64),
        score=fixed["score"],
        confidence=fixed["confidence"],
        propensity=fixed["propensity"].astype(np.float64),
        numbers=dict(columns.numbers),
        strings={name: np.array(values, dtype=object) for name, values in columns.strings.items()},
        statuses=dict(columns.statuses),
        client_ids=clients,
    )


def _keys(request_id: npt.NDArray[np.void], row: npt.NDArray[np.uint16]) -> Keys:
    packed = np.empty(len(row), dtype=[("id", "V16"), ("row", "<u2")])
    packed["id"], packed["row"] = request_id, row
    return packed.view(f"V{KEY_BYTES}")
