"""Business time from a file moves at once for every reader."""

from pathlib import Path

from kit.clock import FakeClock, FileClock, SystemClock, clock_from, write_clock


def test_a_stopped_clock_stands_where_it_was_set(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock", 1_000_000)
    clock = FileClock(tmp_path / "clock")
    assert (clock.now_us(), clock.now_us()) == (1_000_000, 1_000_000)


def test_a_reader_sees_a_move_without_opening_the_file_again(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock", 5)
    clock = FileClock(tmp_path / "clock")
    write_clock(tmp_path / "clock", 7)
    assert clock.now_us() == 7


def test_a_running_clock_starts_at_its_anchor_and_never_falls(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock", 10_000, rate=1000.0)
    clock = FileClock(tmp_path / "clock")
    readings = [clock.now_us() for _ in range(100)]
    assert readings[0] >= 10_000
    assert readings == sorted(readings)


def test_business_time_leaves_wall_time_alone(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock", 5)
    assert clock_from(tmp_path / "clock").wall_us() > 1_600_000_000_000_000
    assert clock_from(None).now_us() >= SystemClock().wall_us() - 10_000_000


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(100)
    clock.advance_us(50)
    assert (clock.now_us(), clock.monotonic_ns()) == (150, 50_000)
