"""A version whose files are gone is told of before somebody has to roll back to it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kit.clock import FakeClock
from kit.telemetry import REGISTRY
from registry.app import build
from tests.polling import until
from tests.registry.conftest import doubling_model, publish, running, settings_for


def _missing() -> float | None:
    return REGISTRY.get_sample_value("registry_files_missing")


@pytest.mark.parametrize("left", [None, b"half of it"])
async def test_a_file_that_is_gone_or_cut_is_counted_at_the_start_and_its_version_named(
    tmp_path: Path, fake_clock: FakeClock, left: bytes | None
) -> None:
    async with running(build(settings_for(tmp_path), fake_clock)) as client:
        await publish(client, 2.0)
        await publish(client, 3.0)
        await until(lambda: _missing() == 0, 10.0)
    for place in (tmp_path / "registry" / "artifacts").glob("??/*"):
        if place.read_bytes() == doubling_model(3.0):
            place.unlink()
            if left is not None:
                place.write_bytes(left)
    with capture_logs() as said:
        async with running(build(settings_for(tmp_path), fake_clock)) as client:
            await until(lambda: _missing() == 1, 10.0)
            assert (await publish(client, 3.0)).json()["version"] == "2"
    [line] = [line for line in said if line["event"] == "version_files_missing"]
    assert line["versions"] == ["delay/2"]
    async with running(build(settings_for(tmp_path), fake_clock)):
        await until(lambda: _missing() == 0, 10.0)
