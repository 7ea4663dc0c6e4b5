"""What was served is read back as it was written, whatever its values."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.adapters.parts_parquet import ParquetParts, from_table, to_table
from monitor.domain.rows import KEY_BYTES, Lane, Rows


def rows_of(n: int, distinct: int, seed: int = 1) -> Rows:
    random = np.random.default_rng(seed)
    score = random.random(n)
    return Rows(
        lane=Lane("delay", "2", "production"),
        keys=np.frombuffer(random.bytes(KEY_BYTES * n), f"V{KEY_BYTES}"),
        units=tuple(f"unit-{i % 7}" for i in range(n)),
        event_us=random.integers(1, 2**50, n),
        latency_us=random.integers(0, 2**32, n),
        outcome=random.integers(0, 7, n).astype(np.uint8),
        flags=random.integers(0, 8, n).astype(np.uint8),
        predicted=random.integers(-1, 3, n),
        score=score,
        confidence=np.maximum(score, 1 - score),
        propensity=np.ones(n),
        numbers={
            "steady": random.choice(np.append(random.normal(size=distinct), np.nan), n),
            "smooth": random.normal(size=n),
        },
        strings={"origin": random.choice(np.array(["EWR", "JFK", None], object), n)},
        statuses={
            name: random.integers(0, 6, n).astype(np.uint8)
            for name in ("steady", "smooth", "origin")
        },
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32))
def test_rows_come_back_as_they_were_written(n: int, distinct: int, seed: int) -> None:
    rows = rows_of(n, distinct, seed)
    (found,) = from_table("delay", "2", to_table(rows))
    assert (found.lane, found.units) == (rows.lane, rows.units)
    assert found.keys.tobytes() == rows.keys.tobytes()
    for name in ("event_us", "latency_us", "outcome", "flags", "predicted", "score", "propensity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(rows, name))
    for name in ("numbers", "strings", "statuses"):
        written, read = getattr(rows, name), getattr(found, name)
        assert list(read) == list(written)
        for column, values in written.items():
            np.testing.assert_array_equal(read[column], values)


def test_a_part_on_disk_holds_what_was_given(tmp_path: Path) -> None:
    parts, rows = ParquetParts(tmp_path), rows_of(500, 9)
    (part,) = parts.write([rows], "1-0", "2-0")
    (found,) = parts.read(part.name)
    np.testing.assert_array_equal(found.numbers["steady"], rows.numbers["steady"])
    assert found.keys.tobytes() == rows.keys.tobytes()
    assert (part.rows, part.from_us) == (500, int(rows.event_us.min()))


def test_only_values_that_come_again_get_a_dictionary(tmp_path: Path) -> None:
    (part,) = ParquetParts(tmp_path).write([rows_of(500, 9)], "1-0", "2-0")
    group = pq.read_metadata(tmp_path / part.name).row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    encoded = {column.path_in_schema: "PLAIN_DICTIONARY" in column.encodings
               or "RLE_DICTIONARY" in column.encodings for column in columns}  # fmt: skip
    assert encoded["n:steady"]
    assert encoded["st:smooth"]
    assert not encoded["n:smooth"]
    assert not encoded["score"]
