"""A row as it was served, and whether the log says the same of it.

Integrity and freshness are apart: an answer that the log never gave, at no position from the one
that was applied, is a mismatch, for which the tolerance is zero; one that it gave before it held
all that it holds now is stale, for which there is an objective.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from contracts.served import STATUSES, ServedBatch
from feature_store.domain.intake import parse_value
from feature_store.domain.join import (
    Joined,
    JoinedColumn,
    aggregated,
    float_vector,
    join_view,
    shared_codes,
    times_and_keys,
)
from feature_store.domain.schema import ARROW_TYPES, INSTANT, TIME_US_MAX, TIME_US_MIN, Int64s
from feature_store.domain.statuses import PRESENT
from shared_features import Entity, FeatureView, View

Class = Literal["match", "stale", "mismatch"]
DEFAULTED, UNAVAILABLE = STATUSES.index("DEFAULTED"), STATUSES.index("UNAVAILABLE")
SEQ_MAX = (1 << 62) - 1
POSITIONS_MAX = 64
"""Positions after the applied one that are tried before an answer is called a mismatch."""


@dataclass(frozen=True, slots=True)
class Served:
    """One row: its keys, when, how far the log was applied, and the answers."""

    keys: Mapping[str, Any]
    at_us: int
    applied_seq: int
    values: Mapping[str, Any]
    """Ref -> number, text or None, as served; NaN is as good as None where nothing was PRESENT."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Ref -> index into ``STATUSES``; where it is not given, only the value is judged."""
    service: str | None = None
    fingerprint: str | None = None
    """Of the feature service by whose definitions it was served."""


def served_rows(batch: ServedBatch) -> list[Served]:
    """The rows of a record that came with their lineage.

    Raises ``KeyError``, ``IndexError``, ``TypeError`` or ``ValueError`` when it makes no sense.
    """
    found = []
    for one in batch.lineage:
        row, at_us, applied_seq = int(one["row"]), int(one["now_us"]), int(one["watermark"])
        if not (TIME_US_MIN <= at_us < TIME_US_MAX and 0 <= applied_seq <= SEQ_MAX):
            raise ValueError("a served row of no time or no position")
        values: dict[str, Any] = {}
        statuses: dict[str, int] = {}
        for name, ref in one["refs"].items():
            status = int(batch.statuses[name][row])
            if status == UNAVAILABLE:
                continue  # nothing was read that could be right or wrong
            text = batch.strings.get(name)
            values[ref] = float(batch.numbers[name][row]) if text is None else text[row]
            statuses[ref] = status
        found.append(
            Served(
                keys=dict(one["keys"]),
                at_us=at_us,
                applied_seq=applied_seq,
                values=values,
                statuses=statuses,
                service=one["service"],
                fingerprint=one.get("fingerprint"),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row was told about one view."""

    served: Served
    key: tuple[Any, ...]
    features: Mapping[str, str]
    """Ref -> feature of the view."""


def columns_needed(view: View) -> list[str]:
    """The columns of the log that say what a row was to be told about ``view``."""
    values = list(view.features) if isinstance(view, FeatureView) else aggregated(view)
    return list(dict.fromkeys([*times_and_keys(view), *values]))


def judge(view: View, rows: pa.Table, asked: Sequence[Asked]) -> list[dict[str, Class]]:
    """Each ref of each row, judged by the log's ``rows`` (all of them, ``columns_needed``)."""
    keys = _key_arrays(view.entity, [one.key for one in asked])
    row_codes, codes = shared_codes(view, rows, keys)
    about = np.isin(row_codes, codes[codes >= 0])
    rows, row_codes = rows.filter(pa.array(about)), row_codes[about]
    seqs = rows["__seq"].to_numpy()
    at: Int64s = np.array([one.served.at_us for one in asked], np.int64)
    now = join_view(view, rows, keys, at, "known")
    verdicts = []
    for place, one in enumerate(asked):
        found: dict[str, Class] = {
            ref: "match" if _holds(one.served, ref, now[feature], place) else "mismatch"
            for ref, feature in one.features.items()
        }
        own = row_codes == codes[place]
        key = [array.slice(place, 1) for array in keys]
        # applied one after the other, so the store may have stood at any position from there on
        after = seqs[own & (seqs > one.served.applied_seq)][:POSITIONS_MAX].tolist()
        for position in [one.served.applied_seq, *after]:
            wrong = [ref for ref, verdict in found.items() if verdict == "mismatch"]
            if not wrong:
                break
            then = rows.filter(pa.array(own & (seqs <= position)))
            joined = join_view(view, then, key, at[place : place + 1], "known")
            found |= _stale(one, wrong, joined)
        verdicts.append(found)
    return verdicts


def later_answers(
    view: View, rows: pa.Table, keys: Sequence[pa.Array], at: Int64s, applied_seq: int
) -> Iterator[Joined]:
    """What the log answered after each row of a key that is later than ``applied_seq``, the latest
    first: where a batch is applied in part, keys stand somewhere behind the view's position.

    ``rows`` are all of the log, ``columns_needed``; at most ``POSITIONS_MAX`` answers.
    """
    row_codes, codes = shared_codes(view, rows, keys)
    about = np.isin(row_codes, codes[codes >= 0])
    rows, row_codes = rows.filter(pa.array(about)), row_codes[about]
    seqs = rows["__seq"].to_numpy()
    late = seqs > applied_seq
    order = np.lexsort((-seqs, row_codes))
    begins = np.flatnonzero(np.diff(row_codes[order], prepend=-1))
    from_end = np.empty(len(rows), np.int64)
    from_end[order] = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
    steps = int(from_end[late].max(initial=-1)) + 1
    for left_out in range(min(steps, POSITIONS_MAX)):
        then = rows.filter(pa.array(~late | (from_end >= left_out)))
        yield join_view(view, then, keys, at, "known")


def _stale(one: Asked, wrong: Sequence[str], joined: Joined) -> dict[str, Class]:
    return {ref: "stale" for ref in wrong if _holds(one.served, ref, joined[one.features[ref]], 0)}


def _holds(served: Served, ref: str, found: JoinedColumn, place: int) -> bool:
    """Whether the log's answer is the one that was served."""
    known, told = int(found.status[place]), served.statuses.get(ref)
    if told == DEFAULTED:
        return known != PRESENT
    if told is not None and told != known:
        return False
    value = served.values[ref]
    if known != PRESENT:
        return value is None or value != value  # noqa: PLR0124 - NaN
    return _bits(value) == _bits(float_vector(_only(found, place))[0])


def _only(found: JoinedColumn, place: int) -> JoinedColumn:
    part = slice(place, place + 1)
    return JoinedColumn(found.values.slice(place, 1), found.status[part], found.age_us[part])


def _bits(value: Any) -> bytes:
    if isinstance(value, bool | int | float):
        number = float(value)
        return b"nan" if number != number else struct.pack("<d", number)  # noqa: PLR0124 - NaN
    return repr(value).encode()


def key_of(entity: Entity, columns: Sequence[str], keys: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row's key parts as their dtypes. Raises ``ValueError`` for one of the wrong type."""
    return tuple(
        None if (given := keys.get(column)) is None else parse_value(given, dtype, column)
        for column, dtype in zip(columns, entity.keys.values(), strict=True)
    )


def _key_arrays(entity: Entity, keys: Sequence[Sequence[Any]]) -> list[pa.Array]:
    arrays = []
    for place, dtype in enumerate(entity.keys.values()):
        parts = [key[place] for key in keys]
        if dtype == "timestamp":
            arrays.append(pa.array(parts, pa.int64()).cast(INSTANT))
        else:
            arrays.append(pa.array(parts, ARROW_TYPES[dtype]))
    return arrays
