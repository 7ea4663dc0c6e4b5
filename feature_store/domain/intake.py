"""What comes in, made into log rows: strictly typed, or set aside with a reason.

Nothing is coerced that could lose a bit: ``True`` and ``1.5`` are no int64, ``"1"`` is no number, a
naive datetime is no instant. A bad row is set aside; the others go on.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.domain.keys import INT64_MAX, INT64_MIN, instant_us
from feature_store.domain.schema import ARROW_TYPES, INSTANT, TIME_US_MAX, TIME_US_MIN
from shared_features import Source, View

OWN_FIELDS = {"event_time", "created_time", "event_id", "deleted"}
EVENT_ID_BYTES_MAX = 256
VALUE_BYTES_MAX = 1 << 20
NAIVE = "has no zone; write it with an offset, as 2025-03-30T01:30:00Z"


class RefusedBatch(ValueError):
    """A batch none of whose rows can be taken; the message says how to mend it."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that was not taken."""

    row: int
    reason: str
    content: Mapping[str, Any]


@dataclass(slots=True)
class Intake:
    """Rows fit for the log: ``table`` has the source's columns and ``event_us``, ``created_us``
    (null: when ingested), ``deleted`` and ``event_id``."""

    table: pa.Table
    aside: list[SetAside] = field(default_factory=list)


class _BadValue(ValueError):
    pass


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _BadValue("must be true or false")
    return value


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if type(value) is not int:
            raise _BadValue("must be a whole number")
        if not low <= value <= high:
            raise _BadValue("is out of range")
        return value

    return parse


def _float64(value: Any) -> float:
    if type(value) is int:
        if abs(value) > 1 << 53:
            raise _BadValue("is a whole number that float64 cannot hold")
        return float(value)
    if not isinstance(value, float):
        raise _BadValue("must be a number")
    return float(value)


def _float32(value: Any) -> float:
    number = _float64(value)
    with np.errstate(over="ignore"):
        narrow = float(np.float32(number))
    if math.isinf(narrow) and not math.isinf(number):
        raise _BadValue("is out of range")
    return narrow


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _BadValue("must be a string")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise _BadValue("is not valid Unicode") from None
    if size > VALUE_BYTES_MAX:
        raise _BadValue("is longer than 1 MiB")
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise _BadValue("must be base64") from None
    if not isinstance(value, bytes):
        raise _BadValue("must be bytes, in JSON as base64")
    if len(value) > VALUE_BYTES_MAX:
        raise _BadValue("is longer than 1 MiB")
    return value


def parse_instant(value: Any) -> int:
    """Microseconds of a zone-aware datetime or ISO 8601 text with an offset."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _BadValue("must be an ISO 8601 instant") from None
    if not isinstance(value, datetime):
        raise _BadValue("must be an ISO 8601 instant")
    if value.tzinfo is None:
        raise _BadValue(NAIVE)
    moment = instant_us(value)
    if not TIME_US_MIN <= moment < TIME_US_MAX:
        raise _BadValue("is too far from now")
    return moment


def _list_of(element: str) -> Callable[[Any], list[Any]]:
    parse_element = PARSERS[element]

    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise _BadValue("must be a list")
        if len(value) > VALUE_BYTES_MAX // 8:
            raise _BadValue("is too long")
        return [parse_element(item) for item in value]

    return parse


PARSERS: dict[str, Callable[[Any], Any]] = {
    "bool": _bool,
    "int32": _whole(-(1 << 31), (1 << 31) - 1),
    "int64": _whole(INT64_MIN, INT64_MAX),
    "float32": _float32,
    "float64": _float64,
    "string": _string,
    "bytes": _bytes,
    "timestamp": parse_instant,
}
PARSERS |= {f"list<{e}>": _list_of(e) for e in ("bool", "int64", "float64", "string")}


def parse_value(value: Any, dtype: str, name: str) -> Any:
    """One value as its dtype wants it; a ``ValueError`` names the field and never the value."""
    try:
        return PARSERS[dtype](value)
    except _BadValue as error:
        raise ValueError(f"{name} {error}") from None


def take_rows(source: Source, views: Sequence[View], rows: Sequence[Any]) -> Intake:
    """Rows as they come from JSON or Python, one mapping each."""
    parsed: dict[str, list[Any]] = {name: [] for name in source.columns}
    own: dict[str, list[Any]] = {n: [] for n in ("event_us", "created_us", "deleted", "event_id")}
    aside: list[SetAside] = []
    keys = [tuple(view.entity.keys) for view in views]
    known = OWN_FIELDS | set(source.columns)
    for number, row in enumerate(rows):
        try:
            values, stamps = _take_row(source, keys, known, row)
        except ValueError as error:
            content = row if isinstance(row, Mapping) else {}
            aside.append(SetAside(number, str(error), content))
            continue
        for name, value in values.items():
            parsed[name].append(value)
        for name, value in stamps.items():
            own[name].append(value)
    arrays = {
        name: pa.array(parsed[name], ARROW_TYPES[dtype])
        if dtype != "timestamp"
        else pa.array(parsed[name], pa.int64()).cast(INSTANT)
        for name, dtype in source.columns.items()
    }
    return Intake(pa.table({**arrays, **_own_arrays(own)}), aside)


def _own_arrays(own: Mapping[str, list[Any]]) -> dict[str, pa.Array]:
    return {
        "event_us": pa.array(own["event_us"], pa.int64()),
        "created_us": pa.array(own["created_us"], pa.int64()),
        "deleted": pa.array(own["deleted"], pa.bool_()),
        "event_id": pa.array(own["event_id"], pa.string()),
    }


def _take_row(
    source: Source, keys: Sequence[tuple[str, ...]], known: set[str], row: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(row, Mapping):
        raise ValueError("a row must be an object")
    if not row.keys() <= known:
        unknown = min(map(str, row.keys() - known))
        raise ValueError(f"{unknown!r} is no column of source {source.name!r}")
    if row.get("event_time") is None:
        raise ValueError("event_time is missing")
    created, event_id = row.get("created_time"), row.get("event_id")
    deleted = row.get("deleted")
    stamps = {
        "event_us": parse_value(row["event_time"], "timestamp", "event_time"),
        "created_us": None
        if created is None
        else parse_value(created, "timestamp", "created_time"),
        "deleted": False if deleted is None else parse_value(deleted, "bool", "deleted"),
        "event_id": None if event_id is None else parse_value(event_id, "string", "event_id"),
    }
    if event_id is not None and len(event_id) > EVENT_ID_BYTES_MAX:
        raise ValueError(f"event_id is longer than {EVENT_ID_BYTES_MAX}")
    values = {
        name: None if row.get(name) is None else parse_value(row[name], dtype, name)
        for name, dtype in source.columns.items()
    }
    if keys and all(any(values[part] is None for part in key) for key in keys):
        raise ValueError(f"the key {', '.join(keys[0])} is null, and null matches nothing")
    return values, stamps


def take_table(source: Source, views: Sequence[View], table: pa.Table) -> Intake:
    """Rows as an Arrow table. A column of a wrong type refuses the batch (``RefusedBatch``)."""
    unknown = sorted(set(table.column_names) - OWN_FIELDS - set(source.columns))
    if unknown:
        raise RefusedBatch(f"{unknown[0]!r} is no column of source {source.name!r}")
    if "event_time" not in table.column_names:
        raise RefusedBatch("the column event_time is missing")
    rows = len(table)
    columns = {
        name: _fit(table[name], dtype, name)
        if name in table.column_names
        else pa.nulls(rows, ARROW_TYPES[dtype])
        for name, dtype in source.columns.items()
    }
    event = _fit(table["event_time"], "timestamp", "event_time").cast(pa.int64())
    columns["event_us"] = event
    columns["created_us"] = _optional(table, "created_time", "timestamp").cast(pa.int64())
    columns["deleted"] = _optional(table, "deleted", "bool").fill_null(False)
    columns["event_id"] = _optional(table, "event_id", "string")
    taken = pa.table(columns)
    problems = _problems(views, taken)
    if not problems:
        return Intake(taken)
    bad = np.zeros(rows, np.bool_)
    aside: list[SetAside] = []
    for mask, reason in problems:
        aside += [
            SetAside(number, reason, _content(table.slice(number, 1)))
            for number in np.flatnonzero(mask & ~bad).tolist()
        ]
        bad |= mask
    aside.sort(key=lambda one: one.row)
    return Intake(taken.filter(pa.array(~bad)), aside)


def _content(row: pa.Table) -> Mapping[str, Any]:
    """The one row of a table as it can be shown."""
    for place, (name, kind) in enumerate(zip(row.schema.names, row.schema.types, strict=True)):
        if pa.types.is_timestamp(kind):  # Python knows no year beyond 9999
            row = row.set_column(place, name, row[name].cast(pa.string()))
    content: Mapping[str, Any] = row.to_pylist()[0]
    return content


def _far(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    moments = pc.fill_null(instants.cast(pa.int64()), 0)
    return pc.or_(pc.less(moments, TIME_US_MIN), pc.greater_equal(moments, TIME_US_MAX))


def _optional(table: pa.Table, name: str, dtype: str) -> pa.ChunkedArray:
    if name in table.column_names:
        return _fit(table[name], dtype, name)
    return pa.chunked_array([pa.nulls(len(table), ARROW_TYPES[dtype])])


def _problems(views: Sequence[View], taken: pa.Table) -> list[tuple[Any, str]]:
    def mask(array: pa.ChunkedArray) -> Any:
        return array.combine_chunks().to_numpy(zero_copy_only=False)

    found = [(mask(pc.is_null(taken["event_us"])), "event_time is missing")]
    for name in taken.column_names:
        told = f"{name[:-3]}_time" if name in ("event_us", "created_us") else name
        if told != name or taken[name].type == INSTANT:
            found.append((mask(_far(taken[name])), f"{told} is too far from now"))
        elif taken[name].type in (pa.string(), pa.binary()):
            size = pc.fill_null(pc.binary_length(taken[name]), 0)
            found.append((mask(pc.greater(size, VALUE_BYTES_MAX)), f"{told} is longer than 1 MiB"))
    long = pc.greater(pc.fill_null(pc.binary_length(taken["event_id"]), 0), EVENT_ID_BYTES_MAX)
    found.append((mask(long), f"event_id is longer than {EVENT_ID_BYTES_MAX}"))
    if views:
        keyless = np.ones(len(taken), np.bool_)
        for view in views:
            null = np.zeros(len(taken), np.bool_)
            for part in view.entity.keys:
                null |= mask(pc.is_null(taken[part]))
            keyless &= null
        key = ", ".join(views[0].entity.keys)
        found.append((keyless, f"the key {key} is null, and null matches nothing"))
    return [(bad, reason) for bad, reason in found if bad.any()]


def _fit(column: pa.ChunkedArray, dtype: str, name: str) -> pa.ChunkedArray:
    """The column as its dtype, when no bit can be lost; else ``RefusedBatch``."""
    wanted, given = ARROW_TYPES[dtype], column.type
    if pa.types.is_dictionary(given):
        column = column.cast(given.value_type)
        given = column.type
    if given == wanted:
        return column
    if pa.types.is_timestamp(given) and given.tz is None:
        raise RefusedBatch(f"the column {name!r} {NAIVE}")
    if not _may_become(given, wanted):
        raise RefusedBatch(f"the column {name!r} is {given}; it must be {wanted}")
    try:
        return column.cast(wanted, safe=True)
    except pa.ArrowInvalid:
        raise RefusedBatch(
            f"the column {name!r} is {given}, and not all values fit {wanted}"
        ) from None


def _may_become(given: pa.DataType, wanted: pa.DataType) -> bool:
    if wanted in (pa.int64(), pa.int32(), pa.float64(), pa.float32()):
        widened = wanted == pa.float64() and pa.types.is_floating(given)
        return bool(pa.types.is_integer(given) or pa.types.is_null(given) or widened)
    if pa.types.is_list(wanted) and pa.types.is_list(given) | pa.types.is_large_list(given):
        same = given.value_type == wanted.value_type
        return bool(same or _may_become(given.value_type, wanted.value_type))
    alike = {
        INSTANT: pa.types.is_timestamp,
        pa.string(): lambda t: t in (pa.large_string(), pa.string_view()),
        pa.binary(): lambda t: t == pa.large_binary(),
    }
    return pa.types.is_null(given) or (wanted in alike and bool(alike[wanted](given)))


def stamp(taken: pa.Table, first_seq: int, ingested_us: int) -> pa.Table:
    """Log rows: the taken rows with their positions and the time of ingestion."""
    rows = len(taken)
    ingested = pa.array(np.full(rows, ingested_us, np.int64))
    own = {
        "__event_us": taken["event_us"],
        "__created_us": pc.coalesce(taken["created_us"], ingested),
        "__ingested_us": ingested,
        "__seq": pa.array(np.arange(first_seq, first_seq + rows, dtype=np.int64)),
        "__deleted": taken["deleted"],
        "__event_id": taken["event_id"],
    }
    names = [n for n in taken.column_names if n not in own]
    rest = {
        n: taken[n] for n in names if n not in ("event_us", "created_us", "deleted", "event_id")
    }
    return pa.table({**own, **rest})
