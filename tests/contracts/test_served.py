"""A served record comes back by bits, and a broken one is refused."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.served import (
    CACHED,
    ServedBatch,
    Stacked,
    carries_lineage,
    decode_served,
    encode_served,
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
