import subprocess
import sys
from pathlib import Path

import pytest

from inference.adapters.trials_disk import PAUSE_S, DiskTrials, TrialRefused
from kit.clock import FakeClock

MODEL, OTHER = "a" * 64, "b" * 64
_ENDS = """
import os, sys
from pathlib import Path
from inference.adapters.trials_disk import DiskTrials
from kit.clock import FakeClock
with DiskTrials(Path(sys.argv[1]), "r", FakeClock(int(sys.argv[2]))).begin(sys.argv[3]):
    os._exit(137)
"""


def end_while_loading(folder: Path, clock: FakeClock, times: int = 1) -> None:
    for _ in range(times):
        command = [sys.executable, "-c", _ENDS, str(folder), str(clock.wall_us()), MODEL]
        assert subprocess.run(command, check=False).returncode == 137


def loads(folder: Path, clock: FakeClock, model: str = MODEL, replica: str = "r") -> bool:
    try:
        with DiskTrials(folder, replica, clock).begin(model):
            return True
    except TrialRefused:
        return False


def test_a_model_that_ended_the_process_three_times_is_left_alone_and_no_other(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    end_while_loading(tmp_path, fake_clock, 3)
    assert not loads(tmp_path, fake_clock)
    assert loads(tmp_path, fake_clock, OTHER)
    assert loads(tmp_path, fake_clock, replica="another")


def test_it_is_said_why_and_until_when(tmp_path: Path, fake_clock: FakeClock) -> None:
    end_while_loading(tmp_path, fake_clock, 3)
    with (
        pytest.raises(TrialRefused, match=r"ended 3 times .* after 20\d\d-.*Z"),
        DiskTrials(tmp_path, "r", fake_clock).begin(MODEL),
    ):
        pass


def test_after_each_further_end_the_pause_is_twice_as_long(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    end_while_loading(tmp_path, fake_clock, 3)
    fake_clock.step_us(PAUSE_S * 1_000_000)
    end_while_loading(tmp_path, fake_clock)
    fake_clock.step_us(PAUSE_S * 1_000_000)
    assert not loads(tmp_path, fake_clock)
    fake_clock.step_us(PAUSE_S * 1_000_000)
    assert loads(tmp_path, fake_clock)


def test_a_load_that_comes_back_forgets_what_was(tmp_path: Path, fake_clock: FakeClock) -> None:
    end_while_loading(tmp_path, fake_clock, 2)
    assert loads(tmp_path, fake_clock)
    end_while_loading(tmp_path, fake_clock, 2)
    assert loads(tmp_path, fake_clock)
    assert list(tmp_path.iterdir()) == []


def test_a_load_that_fails_is_no_end(tmp_path: Path, fake_clock: FakeClock) -> None:
    for _ in range(4):
        with (
            pytest.raises(ValueError, match="no"),
            DiskTrials(tmp_path, "r", fake_clock).begin(MODEL),
        ):
            raise ValueError("no")
    assert loads(tmp_path, fake_clock)


def test_a_process_that_is_asked_to_stop_while_it_loads_did_not_end_by_it(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    for _ in range(4):
        trials = DiskTrials(tmp_path, "r", fake_clock)
        begun = trials.begin(MODEL)
        begun.__enter__()
        trials.close()
    assert loads(tmp_path, fake_clock)


def test_notes_that_nobody_can_read_or_write_keep_nothing_from_being_loaded(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    (tmp_path / f"{MODEL}.r").write_bytes(b"\xff\x00nonsense")
    assert loads(tmp_path, fake_clock)
    (tmp_path / "file").touch()
    assert loads(tmp_path / "file", fake_clock)
