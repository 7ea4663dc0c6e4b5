"""Vital signs are what the system says."""

import math
import shutil
import sys
from pathlib import Path

import pytest

from kit.telemetry import exposition, free_share, watch_disk


def test_the_free_share_of_a_disk_is_the_systems_also_before_the_folder_is_made(
    tmp_path: Path,
) -> None:
    usage = shutil.disk_usage(tmp_path)
    share = usage.free / (usage.used + usage.free)
    for folder in (tmp_path, tmp_path / "later" / "made"):
        assert free_share(folder) == pytest.approx(share, abs=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux' /proc, which has no size")
def test_what_the_system_does_not_say_is_no_number() -> None:
    assert math.isnan(free_share(Path("/proc/version/inside")))


def test_a_process_exports_how_full_its_disk_is(tmp_path: Path) -> None:
    watch_disk(tmp_path)
    [line] = [
        line
        for line in exposition()[0].decode().splitlines()
        if line.startswith("state_disk_free_share ")
    ]
    assert 0 <= float(line.split()[1]) <= 1
