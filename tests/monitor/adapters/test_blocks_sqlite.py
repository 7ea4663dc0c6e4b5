"""The index knows each prediction once, and finds it by its name."""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.adapters import blocks_sqlite as index
from monitor.adapters.database_sqlite import SCHEMA
from monitor.domain.blocks import RECORD, Block
from monitor.domain.rows import HOUR_US

MODEL, OTHER = "delay", 3
"""The model of lanes 1 and 2; the lane of another one."""
Name = tuple[int, int]
"""Request and row."""


def key_of(name: Name) -> bytes:
    request, row = name
    return request.to_bytes(16, "big") + row.to_bytes(2, "little")


def block_of(names: list[Name], at_us: list[int] | None = None) -> Block:
    records = np.zeros(len(names), RECORD)
    records["key"] = np.array([key_of(name) for name in names], "V18")
    records["event_us"] = at_us or 0
    records["score"] = np.arange(len(names))
    return Block(records, [f"u{request}" for request, _ in names])


def opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    connection.executemany(
        "INSERT INTO lanes VALUES (?,?,?,?,'',0,'','')",
        [(1, MODEL, "1", "production"), (2, MODEL, "2", "shadow"), (3, "other", "1", "production")],
    )
    return connection


@pytest.fixture
def writer() -> Iterator[sqlite3.Connection]:
    with closing(opened()) as connection:
        yield connection


NAMES = st.tuples(st.integers(0, 5), st.integers(0, 6))
SERVED = st.tuples(NAMES, st.integers(0, 1))
BATCHES = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]), st.lists(SERVED, min_size=1, max_size=12)), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(BATCHES, st.dictionaries(NAMES, st.integers(0, 9)))
def test_each_row_is_known_once_and_labelled_by_its_name(
    batches: list[tuple[int, list[tuple[Name, int]]]], labels: dict[Name, int]
) -> None:
    with closing(opened()) as writer:
        known: list[tuple[int, Name]] = []
        for lane, rows in batches:
            names = [name for name, _ in rows]
            block = block_of(names, [hour * HOUR_US + i for i, (_, hour) in enumerate(rows)])
            fresh, _ = index.enter(writer, lane, block)
            known += [(lane, name) for name, new in zip(names, fresh.tolist(), strict=True) if new]
        assert len(set(known)) == len(known)
        assert set(known) == {(lane, name) for lane, rows in batches for name, _ in rows}
        for name, label in labels.items():
            found = index.label_key(writer, MODEL, key_of(name), label, 7)
            assert found == any(name == other for lane, other in known if lane < OTHER)
        stack = index.select(writer, "b.id > ?", (0,))
        stored = list(zip(stack.lane.tolist(), stack.records["key"].tolist(), strict=True))
        assert sorted(stored) == sorted((lane, key_of(name)) for lane, name in known)
        by_key = {key_of(name): float(label) for name, label in labels.items()}
        for (lane, key), label in zip(stored, stack.label.tolist(), strict=True):
            wanted = by_key.get(key) if lane < OTHER else None
            assert (None if math.isnan(label) else label) == wanted


def test_of_equal_rows_in_one_batch_the_first_is_kept(writer: sqlite3.Connection) -> None:
    names = [(1, 0), (1, 1), (1, 0), (2, 0)]
    fresh, ((_, stored),) = index.enter(writer, 1, block_of(names))
    assert fresh.tolist() == [True, True, False, True]
    assert stored.records["score"].tolist() == [0.0, 1.0, 3.0]
    assert list(stored.units) == ["u1", "u1", "u2"]


def test_a_request_of_many_rows_is_one_entry(writer: sqlite3.Connection) -> None:
    index.enter(writer, 1, block_of([(1, row) for row in range(500)]))
    assert writer.execute("SELECT count(*) FROM requests").fetchone() == (1,)
    index.enter(writer, 1, block_of([(1, row) for row in range(400, 600)]))
    assert writer.execute("SELECT count(*), sum(rows) FROM requests").fetchone() == (2, 600)


def test_a_unit_is_labelled_within_the_time_and_no_further(writer: sqlite3.Connection) -> None:
    served_us = [HOUR_US - 2, HOUR_US - 1, HOUR_US, HOUR_US + 1, HOUR_US + 1]
    names = [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    index.enter(writer, 1, block_of(names, served_us))
    between = HOUR_US - 1, HOUR_US + 1
    assert index.label_unit(writer, MODEL, "u1", between, 1.0, 7)
    assert not index.label_unit(writer, MODEL, "u3", between, 1.0, 7)
    assert not index.label_unit(writer, "unknown", "u1", between, 1.0, 7)
    labels = index.select(writer, "b.id > 0", ()).label
    np.testing.assert_array_equal(labels, [np.nan, 1.0, 1.0, 1.0, np.nan])


def test_what_is_let_go_leaves_nothing_behind(writer: sqlite3.Connection) -> None:
    for hour in range(4):
        index.enter(writer, 1, block_of([(hour, 0), (9, hour)], [hour * HOUR_US] * 2))
        index.label_key(writer, MODEL, key_of((9, hour)), 1.0, 7)
        writer.execute("INSERT INTO client_ids VALUES (?,?)", (f"c{hour}", key_of((hour, 0))))
    index.forget(writer, 2 * HOUR_US)
    assert not index.label_key(writer, MODEL, key_of((1, 0)), 1.0, 7)
    assert not index.label_key(writer, MODEL, key_of((9, 1)), 1.0, 7)
    assert index.label_key(writer, MODEL, key_of((9, 2)), 0.0, 8)
    assert index.select(writer, "b.id > 0", ()).records["event_us"].min() == 2 * HOUR_US
    counts = {
        table: writer.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        for table in ("blocks", "requests", "labelled", "client_ids")
    }
    assert counts == {"blocks": 2, "requests": 4, "labelled": 2, "client_ids": 2}


def test_however_much_is_too_old_all_of_it_is_let_go(writer: sqlite3.Connection) -> None:
    for at in range(index.FORGOTTEN_AT_A_TIME + 2):
        index.enter(writer, 1, block_of([(at, 0)], [at]))
    index.forget(writer, index.FORGOTTEN_AT_A_TIME + 1)
    assert writer.execute("SELECT sum(rows) FROM blocks").fetchone() == (1,)
    assert writer.execute("SELECT count(*) FROM requests").fetchone() == (1,)
