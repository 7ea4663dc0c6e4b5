"""The served log: what inference records of every prediction, for the monitor to read.

One record holds the rows that one model version answered in one batch, column by column, so that
both ends work on vectors. Layout, little-endian: ``version u8 | header length u32 | header JSON |
columns`` with the columns in the order of ``_FIXED`` and then, for each feature column, values and
statuses. Strings travel in the header.

On the stream an entry has the fields ``p`` (producer), ``s`` (sequence number of that producer,
from 1 without gaps) and ``d`` (these bytes). Application is idempotent by (p, s).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from contracts.routing import Variant

STREAM = "ll:served"
"""Redis stream of partition 0; partition i > 0 is ``ll:served:<i>``."""
DEAD_LETTERS = "ll:served:dead"
GROUP = "monitor"

OUTCOMES = (
    "ok",
    "invalid_input",
    "feature_missing",
    "model_error",
    "nan_answer",
    "deadline",
    "dependency",
)
"""By index: how a row ended. Everything from ``model_error`` on counts as the version's error."""
FIRST_ERROR_OUTCOME = OUTCOMES.index("model_error")

STATUSES = ("PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE", "DEFAULTED", "UNAVAILABLE")
"""By index: where a feature value came from. DEFAULTED replaces a missing value by the declared
default; UNAVAILABLE means the store was away, or held what cannot be read."""

CACHED, EXPLORED, DEGRADED = 1, 2, 4
"""Bits of ``flags``."""

_VERSION = 1
_HEAD = {
    "model", "version", "variant", "epoch", "rollout_id", "step", "arm", "units", "rows", "numbers",
    "strings", "client_request_ids", "policy_id", "lineage",
}  # fmt: skip
_HEADER = struct.Struct("<BI")

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

_FIXED: tuple[tuple[str, str], ...] = (
    ("event_us", "<i8"),
    ("request_id", "V16"),
    ("row", "<u2"),
    ("latency_us", "<u4"),
    ("outcome", "u1"),
    ("flags", "u1"),
    ("predicted", "<i4"),
    ("score", "<f8"),
    ("confidence", "<f8"),
    ("propensity", "<f4"),
)
_ROW_BYTES = sum(np.dtype(dtype).itemsize for _, dtype in _FIXED)


class Stacked(Mapping[str, npt.NDArray[Any]]):
    """Named columns that are the rows of one matrix [columns, n], so that a record is written and
    read in one piece: a call a column costs a row of 20 features 25 µs."""

    __slots__ = ("matrix", "names")

    def __init__(self, names: Sequence[str], matrix: npt.NDArray[Any]) -> None:
        self.names = tuple(names)
        self.matrix = matrix

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        try:
            found: npt.NDArray[Any] = self.matrix[self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _packed(columns: Mapping[str, npt.NDArray[Any]], names: Sequence[str], dtype: str) -> bytes:
    if isinstance(columns, Stacked) and columns.names == tuple(names):
        return np.asarray(columns.matrix, dtype).tobytes()
    return b"".join([np.asarray(columns[name], dtype).tobytes() for name in names])


@dataclass(frozen=True, slots=True)
class ServedBatch:
    """n rows served by one version. Arrays have shape [n]; times are int64 microseconds UTC."""

    model: str
    version: str
    variant: Variant
    epoch: int
    rollout_id: str | None
    step: int
    arm: str
    units: tuple[str, ...]
    event_us: npt.NDArray[np.int64]
    request_id: npt.NDArray[np.void]
    """dtype V16; the same for a shadow's row and the row that was answered: they pair by it."""
    row: npt.NDArray[np.uint16]
    latency_us: npt.NDArray[np.uint32]
    """Of the model's own work for the row: features, compute, post-processing."""
    outcome: Bytes
    flags: Bytes
    predicted: npt.NDArray[np.int32]
    """Index of the predicted class, −1 where there is none (regression, errors)."""
    score: Floats
    """Probability of the positive class, or the regression value; NaN for errors."""
    confidence: Floats
    propensity: npt.NDArray[np.float32]
    """Probability with which the logged decision was taken (1 without exploration)."""
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    """Numeric feature columns as the model got them; null is NaN."""
    strings: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    statuses: Mapping[str, Bytes] = field(default_factory=dict)
    """By column name (numeric and string): index into ``STATUSES``."""
    client_request_ids: tuple[str, ...] = ()
    policy_id: str = ""
    lineage: tuple[dict[str, Any], ...] = ()
    """For a sample of rows, what the feature store verifies them by: ``row``, ``keys``, ``now_us``,
    ``watermark``, ``service``, ``fingerprint``, and ``refs`` (column name -> ref)."""

    def __len__(self) -> int:
        return len(self.event_us)


def encode_served(batch: ServedBatch) -> bytes:
    """The bytes of one record."""
    header = orjson.dumps(
        {
            "model": batch.model,
            "version": batch.version,
            "variant": batch.variant,
            "epoch": batch.epoch,
            "rollout_id": batch.rollout_id,
            "step": batch.step,
            "arm": batch.arm,
            "units": batch.units,
            "rows": len(batch),
            "numbers": list(batch.numbers),
            "strings": batch.strings,
            "client_request_ids": batch.client_request_ids,
            "policy_id": batch.policy_id,
            "lineage": batch.lineage,
        }
    )
    parts = [_HEADER.pack(_VERSION, len(header)), header]
    parts += [np.asarray(getattr(batch, name), dtype).tobytes() for name, dtype in _FIXED]
    parts.append(_packed(batch.numbers, tuple(batch.numbers), "<f8"))
    parts.append(_packed(batch.statuses, (*batch.numbers, *batch.strings), "u1"))
    return b"".join(parts)


_NO_LINEAGE = b'"lineage":[]}'
"""How a header without lineage ends."""


def carries_lineage(data: bytes) -> bool:
    """Whether a record holds a sampled row; costs no decoding."""
    if len(data) < _HEADER.size:
        return False
    end = _HEADER.size + _HEADER.unpack_from(data)[1]
    return data[end - len(_NO_LINEAGE) : end] != _NO_LINEAGE


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record whose header was read and whose columns lie as they came: many are unsealed at
    once, which costs a record of one row a fifth of what it costs alone."""

    head: dict[str, Any]
    rows: int
    columns: bytes

    @property
    def model(self) -> str:
        """Which model answered."""
        name: str = self.head["model"]
        return name

    @property
    def version(self) -> str:
        """Which version of it."""
        name: str = self.head["version"]
        return name


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of some records, one record after the other; [n] each, n rows in all."""

    fixed: dict[str, npt.NDArray[Any]]
    """By the names of ``ServedBatch``."""
    numbers: Stacked
    strings: dict[str, tuple[str | None, ...]]
    statuses: Stacked
    units: tuple[str, ...]


def seal(data: bytes) -> Sealed:
    """Read the header and check that the bytes are what it says. Raises ``ValueError`` otherwise;
    what this lets through, ``unseal`` can take."""
    if len(data) < _HEADER.size:
        raise ValueError("a served record is shorter than its header")
    version, header_length = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"served record of unknown version {version}")
    at = _HEADER.size + header_length
    head = orjson.loads(data[_HEADER.size : at])
    if not isinstance(head, dict) or not head.keys() >= _HEAD:
        raise ValueError("the header of a served record lacks members")
    rows, strings = int(head["rows"]), head["strings"]
    size = rows * (_ROW_BYTES + 9 * len(head["numbers"]) + len(strings))
    if rows < 0 or len(data) - at != size or len(head["units"]) != rows:
        raise ValueError("a served record has more or fewer bytes than its header says")
    if any(len(values) != rows for values in strings.values()):
        raise ValueError("a string column of a served record is longer or shorter than the others")
    return Sealed(head, rows, data[at:])


def unseal(records: Sequence[Sealed]) -> Columns:
    """The columns of records (at least one) with the same feature columns, in their order."""
    head = records[0].head
    names, words = tuple(head["numbers"]), tuple(head["strings"])
    rows = np.array([record.rows for record in records])
    pieces, places = [], []
    for size in np.unique(rows).tolist():
        mine = np.flatnonzero(rows == size)
        layout = _layout(size, len(names), len(words))
        packed = b"".join([records[i].columns for i in mine.tolist()])
        pieces.append(_flat(np.frombuffer(packed, layout, len(mine))))
        places.append(np.repeat(mine, size))
    joined = pieces[0]
    if len(pieces) > 1:
        order = np.argsort(np.concatenate(places), kind="stable")
        joined = {
            name: np.concatenate([piece[name] for piece in pieces], axis=-1)[..., order]
            for name in joined
        }
    return Columns(
        numbers=Stacked(names, joined.pop("numbers")),
        statuses=Stacked((*names, *words), joined.pop("statuses")),
        strings={
            word: tuple(value for record in records for value in record.head["strings"][word])
            for word in words
        },
        units=tuple(unit for record in records for unit in record.head["units"]),
        fixed=joined,
    )


@cache
def _layout(rows: int, numbers: int, strings: int) -> np.dtype[np.void]:
    """The columns of one record of so many rows."""
    fields: list[tuple[str, str, tuple[int, ...]]] = [
        (name, dtype, (rows,)) for name, dtype in _FIXED
    ]
    fields += [("numbers", "<f8", (numbers, rows)), ("statuses", "u1", (numbers + strings, rows))]
    return np.dtype(fields)


def _flat(block: npt.NDArray[np.void]) -> dict[str, npt.NDArray[Any]]:
    """Records [r] as columns [r x rows], and matrices [columns, r x rows]."""
    flat: dict[str, npt.NDArray[Any]] = {name: block[name].reshape(-1) for name, _ in _FIXED}
    for name in ("numbers", "statuses"):
        stacked = block[name].transpose(1, 0, 2)
        flat[name] = stacked.reshape(len(stacked), stacked.shape[1] * stacked.shape[2])
    return flat


def decode_served(data: bytes) -> ServedBatch:
    """The inverse of ``encode_served``. Raises ``ValueError`` when the bytes are not a record."""
    record = seal(data)
    head, columns = record.head, unseal([record])
    return ServedBatch(
        model=head["model"],
        version=head["version"],
        variant=head["variant"],
        epoch=head["epoch"],
        rollout_id=head["rollout_id"],
        step=head["step"],
        arm=head["arm"],
        units=columns.units,
        numbers=columns.numbers,
        strings=columns.strings,
        statuses=columns.statuses,
        client_request_ids=tuple(head["client_request_ids"]),
        policy_id=head["policy_id"],
        lineage=tuple(head["lineage"]),
        **columns.fixed,
    )
