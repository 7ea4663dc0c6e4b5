"""A served record comes back by bits, and a broken one is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.served import (
    CACHED,
    ServedBatch,
    Stacked,
    carries_lineage,
    decode_served,
    encode_served,
    seal,
    unseal,
)


def batch(rows: int = 3) -> ServedBatch:
    return ServedBatch(
        model="delay",
        version="2",
        variant="canary",
        epoch=4,
        rollout_id="r1",
        step=1,
        arm="",
        units=tuple(f"unit-{i}" for i in range(rows)),
        event_us=np.arange(rows, dtype=np.int64),
        request_id=np.array([bytes([i]) * 16 for i in range(rows)], "V16"),
        row=np.zeros(rows, np.uint16),
        latency_us=np.full(rows, 250, np.uint32),
        outcome=np.zeros(rows, np.uint8),
        flags=np.full(rows, CACHED, np.uint8),
        predicted=np.ones(rows, np.int32),
        score=np.linspace(0, 1, rows),
        confidence=np.linspace(0.5, 1, rows),
        propensity=np.ones(rows, np.float32),
        numbers={"a": np.array([1.5, np.nan, -0.0])[:rows]},
        strings={"carrier": ("UA", None, "é")[:rows]},
        statuses={"a": np.array([0, 1, 0], np.uint8)[:rows], "carrier": np.zeros(rows, np.uint8)},
    )


def test_a_record_comes_back_by_bits() -> None:
    sent = batch()
    got = decode_served(encode_served(sent))
    assert (got.model, got.variant, got.units, got.strings) == (
        sent.model, sent.variant, sent.units, sent.strings,
    )  # fmt: skip
    assert got.numbers["a"].tobytes() == sent.numbers["a"].tobytes()
    assert got.request_id.tobytes() == sent.request_id.tobytes()
    assert got.statuses["a"].tolist() == [0, 1, 0]
    assert np.array_equal(got.score, sent.score)


def test_columns_in_one_matrix_are_written_and_read_as_columns_of_their_own() -> None:
    plain = batch()
    names = ("a", "carrier")
    stacked = replace(
        plain,
        numbers=Stacked(["a"], np.stack([plain.numbers["a"]])),
        statuses=Stacked(names, np.stack([plain.statuses[name] for name in names])),
    )
    assert encode_served(stacked) == encode_served(plain)
    got = decode_served(encode_served(stacked))
    assert list(got.statuses) == list(names)
    assert len(got.numbers) == 1
    assert "b" not in got.numbers
    with pytest.raises(KeyError):
        got.numbers["b"]


@pytest.mark.parametrize("cut", [0, 3, 5, 100, -1, -9])
def test_a_torn_record_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_served(encode_served(batch())[:cut])


def test_whether_a_record_carries_lineage_is_seen_without_decoding_it() -> None:
    sampled = replace(batch(), lineage=({"row": 0, "refs": {}},))
    assert carries_lineage(encode_served(sampled))
    assert not carries_lineage(encode_served(batch()))
    assert not carries_lineage(b"")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_records_unsealed_together_are_the_records_unsealed_alone(sizes: list[int]) -> None:
    sent = [encode_served(replace(batch(rows), epoch=i)) for i, rows in enumerate(sizes)]
    together = unseal([seal(data) for data in sent])
    alone = [decode_served(data) for data in sent]
    assert together.units == tuple(unit for one in alone for unit in one.units)
    assert together.strings["carrier"] == tuple(v for one in alone for v in one.strings["carrier"])
    for name, column in together.fixed.items():
        assert column.tobytes() == b"".join(getattr(one, name).tobytes() for one in alone)
    for name in ("a", "carrier"):
        codes = b"".join(one.statuses[name].tobytes() for one in alone)
        assert together.statuses[name].tobytes() == codes
    assert together.numbers["a"].tobytes() == b"".join(o.numbers["a"].tobytes() for o in alone)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b'"lineage":[]', b'"lineagE":[]'),
        (b'"rows":3', b'"rows":2'),
        (b'"rows":3', b'"rows":9'),
        (b'["UA",null,', b'["UA",     '),
        (b'"unit-1",', b"         "),
    ],
)
def test_a_header_that_does_not_fit_its_columns_is_refused(was: bytes, now: bytes) -> None:
    data = encode_served(batch())
    assert was in data
    with pytest.raises(ValueError, match=r"served record"):
        seal(data.replace(was, now))
