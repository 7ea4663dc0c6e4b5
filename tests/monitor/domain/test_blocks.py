"""Rows in blocks are the rows that were given."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.blocks import RECORD, Block, requests_of, runs

KEYS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65_535) | st.integers(0, 4)))


def as_keys(pairs: list[tuple[int, int]]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.array([bytes([r]) * 16 + row.to_bytes(2, "little") for r, row in pairs], "V18")


@given(KEYS)
def test_runs_are_the_keys_again_in_order(pairs: list[tuple[int, int]]) -> None:
    found = runs(as_keys(pairs)).tolist()
    again = [(run[0][0], run[2] + i) for run in found for i in range(run[3])]
    assert again == pairs
    assert [run[1] for run in found] == np.cumsum([0, *(run[3] for run in found)])[:-1].tolist()


def test_the_rows_of_one_request_are_one_run() -> None:
    assert runs(as_keys([(1, row) for row in range(100)])).tolist() == [(b"\1" * 16, 0, 0, 100)]
    assert len(runs(as_keys([(request, 0) for request in range(100)]))) == 100


def test_ids_that_end_or_begin_in_zeros_stay_whole() -> None:
    keys = np.array([b"\0" * 8 + b"\1" + b"\0" * 9, b"\0" * 18], "V18")
    assert requests_of(keys) == [b"\0" * 8 + b"\1" + b"\0" * 7, b"\0" * 16]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            st.sampled_from(["", "|origin=EWR|"]),
            st.floats(),
        ),
        max_size=20,
    )
)
def test_a_block_is_unpacked_as_it_was_packed(rows: list[tuple[str, str, float]]) -> None:
    records = np.zeros(len(rows), RECORD)
    records["score"] = [score for _, _, score in rows]
    segments = [joined for _, joined, _ in rows]
    block = Block(records, [unit for unit, _, _ in rows], segments if any(segments) else ())
    found = Block.unpack(*block.pack())
    assert found.records.tobytes() == records.tobytes()
    assert (list(found.units), list(found.segments)) == (list(block.units), list(block.segments))
