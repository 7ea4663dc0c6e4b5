from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kit.clock import FileClock
from leadline.commands.demo import Instant, Speed, Stop, demo
from leadline.demo.flights import DECEMBER_US, HOUR_US


@pytest.mark.parametrize(
    ("text", "rate"), [("1d=7s", 86400 / 7), ("1h=1m", 60.0), ("30m=0.5s", 3600.0), ("max", None)]
)
def test_a_speed_is_simulated_time_in_real_time(text: str, rate: float | None) -> None:
    assert Speed().convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["fast", "1d", "1d=0s", "0d=1s", "1y=1s"])
def test_a_speed_that_is_none_is_explained(text: str) -> None:
    with pytest.raises(click.BadParameter, match="1d=7s"):
        Speed().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2013-12-01", DECEMBER_US),
        ("2013-12-01T03:00Z", DECEMBER_US + 3 * HOUR_US),
        ("2013-12-01T03:00+01:00", DECEMBER_US + 2 * HOUR_US),
    ],
)
def test_an_instant_without_a_zone_is_utc(text: str, instant: int) -> None:
    assert Instant().convert(text, None, None) == instant


def test_there_is_nothing_to_replay_without_a_demo(tmp_path: Path) -> None:
    told = CliRunner().invoke(demo, ["replay", "--state", str(tmp_path)])
    assert told.exit_code == 1
    assert "leadline up --demo" in told.output


def test_a_demo_may_begin_at_another_instant_once(tmp_path: Path) -> None:
    begin = ["begin", "--state", str(tmp_path), "--at"]
    assert CliRunner().invoke(demo, [*begin, "2013-09-10"]).exit_code == 1
    assert CliRunner().invoke(demo, [*begin, "2013-11-17"]).exit_code == 0
    assert FileClock(tmp_path / "clock").now_us() == DECEMBER_US - 14 * 24 * HOUR_US
    again = CliRunner().invoke(demo, [*begin, "2013-11-18"])
    assert "has begun already" in again.output


def test_the_first_interrupt_finishes_the_step_and_the_second_ends_at_once() -> None:
    stop = Stop()
    assert not stop()
    stop.ask(2, None)
    assert stop()
    with pytest.raises(KeyboardInterrupt):
        stop.ask(2, None)
