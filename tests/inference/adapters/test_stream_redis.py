"""How the served log is dealt out over partitions."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.served import STREAM
from inference.adapters.stream_redis import dealt
from inference.domain.spool_record import SpoolRecord


@given(st.integers(1, 64), st.integers(1, 300))
def test_every_partition_gets_its_share_in_sequences_without_gaps(
    partitions: int, records: int
) -> None:
    found: dict[tuple[str, str], list[int]] = {}
    for seq in range(1, records + 1):
        stream, producer, number = dealt(SpoolRecord("a-1", seq, b"", 0), partitions)
        found.setdefault((stream, producer), []).append(number)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in found.values())
    assert len({producer for _, producer in found}) == len(found) == min(partitions, records)
    sizes = [len(numbers) for numbers in found.values()]
    assert max(sizes) - min(sizes) <= 1


def test_one_partition_is_the_log_itself() -> None:
    assert dealt(SpoolRecord("a-1", 7, b"", 0), 1) == (STREAM, "a-1", 7)
