"""What an Arrow stream says of itself is believed only where it is so."""

import io
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.domain.arrow_stream import UnfitStream, read_stream

MIB = 1 << 20


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def lied(offsets: list[int]) -> bytes:
    """Texts of 1,000 characters each, with other offsets."""
    honest = np.arange(len(offsets), dtype="<i4") * 1000
    body = stream(pa.table({"origin": ["x" * 1000] * (len(offsets) - 1)}))
    before, found, behind = body.rpartition(honest.tobytes())
    assert found
    return before + np.array(offsets, "<i4").tobytes() + behind


def repeated_view(text: str, rows: int) -> pa.Array:
    """One text, seen by every row."""
    view = struct.pack("<i4sii", len(text), text[:4].encode(), 0, 0)
    buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(text.encode())]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


COLUMNS = pa.table(
    {
        "number": [1, None, 3],
        "text": ["a", None, "ccc"],
        "view": pa.array(["a", None, "c" * 20], pa.string_view()),
        "list": [[1], None, []],
        "coded": pa.array(["a", None, "a"]).dictionary_encode(),
        "nothing": pa.nulls(3),
    }
)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_an_honest_stream_is_read_as_it_was_written(compression: str | None) -> None:
    assert read_stream(stream(COLUMNS, compression), MIB).equals(COLUMNS)


def test_a_stream_without_rows_is_read() -> None:
    assert read_stream(stream(COLUMNS.slice(0, 0)), MIB).num_rows == 0


@pytest.mark.parametrize(
    "offsets",
    [[0, 900_000], [0, 3000, 2000], [0, 2_000_000_000, 2_000_000_001], [-900_000, -100]],
)
def test_a_text_that_lies_elsewhere_in_memory_is_refused(offsets: list[int]) -> None:
    with pytest.raises(UnfitStream):
        read_stream(lied(offsets), MIB)


def test_a_code_that_its_dictionary_has_not_is_refused() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 99_999_999]), ["x"], safe=False)
    with pytest.raises(UnfitStream):
        read_stream(stream(pa.table({"origin": coded})), MIB)


def test_a_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(UnfitStream):
        read_stream(stream(pa.table({"origin": ["eager"]})).replace(b"eager", b"e\xffger"), MIB)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(UnfitStream):
        read_stream(stream(pa.table({"origin": ["a"]})).replace(b"origin", b"or\xffgin"), MIB)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(UnfitStream, match="same name"):
        read_stream(stream(pa.table([[1], [2]], names=["a", "a"])), MIB)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_is_compressed_is_refused_by_what_it_would_become(compression: str) -> None:
    body = stream(pa.table({"n": np.zeros(MIB, "i8")}), compression)
    assert len(body) < MIB / 8
    before = pa.total_allocated_bytes()
    with pytest.raises(UnfitStream, match="decompressed"):
        read_stream(body, 8 * MIB - 1)
    assert pa.total_allocated_bytes() == before
    assert len(read_stream(body, 9 * MIB)) == MIB


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"n": pa.nulls(2_000_000_000)}),
        pa.table({"n": pa.RunEndEncodedArray.from_arrays([2_000_000_000], [1])}),
        pa.table({"t": pa.DictionaryArray.from_arrays(np.zeros(9000, "i1"), ["x" * 1000])}),
        pa.table({"v": repeated_view("x" * 1000, 1000)}),
    ],
    ids=["nulls", "runs", "dictionary", "views"],
)
def test_few_bytes_that_stand_for_many_are_refused(table: pa.Table) -> None:
    body = stream(table)
    assert len(body) < 20_000
    with pytest.raises(UnfitStream, match="written out"):
        read_stream(body, MIB // 2)


SAMPLES = [stream(COLUMNS), stream(COLUMNS, "lz4"), stream(COLUMNS, "zstd")]


@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_stream_is_refused_or_keeps_its_promises(
    body: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = read_stream(bytes(damaged), MIB)
    except UnfitStream:
        return
    table.to_pylist()
