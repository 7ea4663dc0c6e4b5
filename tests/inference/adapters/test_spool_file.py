"""The spool keeps what it took, whatever happens to the process."""

import os
import resource
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from inference.adapters.spool_file import FileSpool
from inference.domain.spool_record import (
    SpoolPlace,
    SpoolRecord,
    next_record,
    pack_record,
    records_in,
)


def spool_in(folder: Path, bytes_max: int = 1 << 30) -> FileSpool:
    spool = FileSpool(folder, replica="r", bytes_max=bytes_max)
    spool.open()
    return spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[FileSpool]:
    made = spool_in(tmp_path)
    yield made
    made.close()


def all_of(spool: FileSpool) -> list[SpoolRecord]:
    found: list[SpoolRecord] = []
    place = spool.cursor
    while True:
        records, after = spool.read(place, 1000)
        if after == place:
            return found
        found += records
        place = after


def test_records_come_back_in_order_with_sequences_from_one(spool: FileSpool) -> None:
    for index in range(50):
        spool.append(b"x" * index * 10, 1)
    found = all_of(spool)
    assert [record.seq for record in found] == list(range(1, 51))
    assert [len(record.payload) for record in found] == [index * 10 for index in range(50)]
    assert {record.producer for record in found} == {spool.producer}


def test_what_a_killed_process_left_is_there_for_the_next(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    first.append(b"one", 1)
    second = spool_in(tmp_path)  # the first was not closed: it was killed
    second.append(b"two", 1)
    found = all_of(second)
    assert [(record.payload, record.seq) for record in found] == [(b"one", 1), (b"two", 1)]
    assert found[0].producer != found[1].producer
    first.close()
    second.close()


def test_a_torn_tail_is_cut_off_and_nothing_before_it(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    for index in range(5):
        first.append(bytes([index]) * 100, 1)
    first.close()
    (segment,) = tmp_path.glob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-30])
    second = spool_in(tmp_path)
    assert [record.payload[0] for record in all_of(second)] == [0, 1, 2, 3]
    second.close()


def test_what_was_released_is_not_read_again_after_a_restart(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    first.append(b"one", 1)
    _, place = first.read(first.cursor, 1000)
    first.append(b"two", 1)
    first.release(place)
    first.close()
    second = spool_in(tmp_path)
    assert [record.payload for record in all_of(second)] == [b"two"]
    second.close()


def test_released_segments_leave_the_disk(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    first.append(b"one", 1)
    first.close()
    second = spool_in(tmp_path)
    second.append(b"two", 1)
    assert len(list(tmp_path.glob("*.seg"))) == 2
    second.release(second.end)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    assert second.bytes_waiting == 0
    second.close()


def test_a_garbled_cursor_ships_everything_again(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    first.append(b"one", 1)
    first.release(first.end)
    first.close()
    (tmp_path / "cursor").write_bytes(b"garbage")
    second = spool_in(tmp_path)
    assert [record.payload for record in all_of(second)] == [b"one"]
    second.close()


def test_a_full_spool_drops_counts_and_leaves_a_gap(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, bytes_max=1 << 10)
    for _ in range(5):
        spool.append(b"x" * 300, 7)
    assert (spool.records, spool.records_dropped, spool.rows_dropped) == (3, 2, 14)
    spool.release(spool.end)
    spool.append(b"again", 1)
    spool_sequences = [record.seq for record in all_of(spool)]
    assert spool_sequences == [6]  # 4 and 5 are the gap
    spool.close()


def _rot(segment: Path, at: int) -> None:
    whole = bytearray(segment.read_bytes())
    whole[at] ^= 1
    segment.write_bytes(bytes(whole))


def test_a_rotten_record_takes_no_other_with_it(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    for payload in (b"one" * 50, b"two" * 50, b"three" * 50):
        first.append(payload, 1)
    second = spool_in(tmp_path)
    second.append(b"four", 1)
    _rot(min(tmp_path.glob("*.seg")), 30)
    found = all_of(second)
    assert [record.payload[:3] for record in found] == [b"two", b"thr", b"fou"]
    assert [record.seq for record in found] == [2, 3, 1]  # 1 is a gap that the reader sees
    first.close()
    second.close()


def test_rot_in_the_last_segment_is_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    first = spool_in(tmp_path)
    for payload in (b"one" * 50, b"two" * 50, b"three" * 50):
        first.append(payload, 1)
    (segment,) = tmp_path.glob("*.seg")
    _rot(segment, segment.stat().st_size // 2)
    segment.write_bytes(segment.read_bytes() + b"torn")
    second = spool_in(tmp_path)
    assert [record.seq for record in all_of(second)] == [1, 3]
    first.close()
    second.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.integers(0, 10_000), st.integers(1)
)
def test_whatever_byte_rots_only_its_record_is_lost(
    payloads: list[bytes], place: int, flip: int
) -> None:
    packed = [pack_record(b"p-1", seq, one) for seq, one in enumerate(payloads, 1)]
    data = bytearray(b"".join(packed))
    place %= len(data)
    data[place] ^= flip % 255 + 1
    found, at = [], 0
    following: int | None = 0
    while following is not None:
        at = following
        for record in records_in(bytes(data[at:])):
            found.append(record.seq)
            last = at + record.end
        at = max(at, last if found else at)
        following = next_record(bytes(data), at + 1, b"\x03p-1")
    lengths = [len(one) for one in packed]
    rotten = next(i for i in range(len(lengths)) if place < sum(lengths[: i + 1])) + 1
    assert found == [seq for seq in range(1, len(payloads) + 1) if seq != rotten]


def test_a_disk_that_takes_no_new_segment_costs_no_answer(spool: FileSpool, tmp_path: Path) -> None:
    (tmp_path / "0000000002.seg").mkdir()
    for _ in range(35):
        spool.append(bytes(1 << 20), 1)
    assert (spool.records, spool.records_dropped) == (35, 0)
    (tmp_path / "0000000002.seg").rmdir()
    spool.append(b"x", 1)
    assert spool.end == SpoolPlace(2, 0)
    assert [record.seq for record in all_of(spool)] == list(range(1, 37))


def test_a_full_segment_is_synced_with_the_next_and_not_by_who_fills_it(
    spool: FileSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(
        os, "fdatasync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    for _ in range(33):
        spool.append(bytes(1 << 20), 1)
    assert (spool.end.segment, synced) == (2, [])
    spool.sync()
    assert [Path(name).name for name in synced] == ["0000000001.seg", "0000000002.seg"]
    spool.sync()
    assert len(synced) == 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(0, 400))
def test_any_cut_of_the_bytes_gives_a_prefix_of_the_records(
    payloads: list[bytes], cut: int
) -> None:
    data = b"".join(pack_record(b"p", seq, one) for seq, one in enumerate(payloads, 1))
    found = [record.payload for record in records_in(data[:cut])]
    assert found == payloads[: len(found)]
    if cut >= len(data):
        assert found == payloads


@given(st.binary(max_size=200) | st.integers(0, 200).map(bytes))
def test_garbage_is_no_record(data: bytes) -> None:
    assert list(records_in(data)) == []


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.data())
def test_one_reading_stops_before_the_record_of_a_changed_byte(
    payloads: list[bytes], data: st.DataObject
) -> None:
    packed = [pack_record(b"p", seq, one) for seq, one in enumerate(payloads, 1)]
    whole = bytearray(b"".join(packed))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    ends = list(accumulate(map(len, packed)))
    found = [record.payload for record in records_in(bytes(whole))]
    assert found == payloads[: sum(end <= at for end in ends)]


def test_places_are_ordered() -> None:
    assert SpoolPlace(1, 9) < SpoolPlace(2, 0) < SpoolPlace(2, 1)


def test_a_full_disk_drops_and_counts_and_the_spool_stays_sound(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(b"fine", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.end.offset + 50, hard))  # as a disk that ends
    try:
        with capture_logs() as lines:
            spool.append(b"x" * 200, 3)
            spool.append(b"x" * 200, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    spool.append(b"again", 1)
    assert (spool.records_dropped, spool.rows_dropped) == (2, 7)
    assert [line["event"] for line in lines] == ["spool_write_failed"]
    assert [(record.seq, record.payload) for record in all_of(spool)] == [
        (1, b"fine"),
        (4, b"again"),
    ]
    spool.close()


def test_a_cursor_that_the_full_disk_refuses_frees_the_disk_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "cursor").symlink_to("/dev/full")
    spool = spool_in(tmp_path)
    for _ in range(35):
        spool.append(bytes(1 << 20), 1)
    spool.release(spool.end)
    assert not (tmp_path / "0000000001.seg").exists()
    assert spool.bytes_waiting == 0
    spool.close()


def test_a_disk_that_only_the_spool_fills_is_free_again_once_all_is_durable(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(b"x" * 200, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.end.offset + 50, hard))
    try:
        with capture_logs():
            spool.append(b"x" * 200, 1)
            assert spool.records_dropped == 1
            spool.release(spool.end)
            spool.append(b"x" * 200, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert spool.records_dropped == 1
    assert [record.seq for record in all_of(spool)] == [3]
    assert not (tmp_path / "0000000001.seg").exists()
    spool.close()
