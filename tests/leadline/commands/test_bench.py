from pathlib import Path

import pytest
from click.testing import CliRunner

from kit.clock import write_clock
from leadline.commands.bench import bench
from leadline.state import StateDir, write_private
from tests.leadline.fake_gateway import fake_gateway


@pytest.mark.parametrize("instance", ["[1", "[1]", "1", "null"])
def test_what_is_no_instance_is_not_asked(instance: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(bench, ["--instance", instance, "--state", str(tmp_path)])
    assert said.exit_code == 2
    assert "--instance is a JSON object" in said.output


def test_what_is_refused_for_good_is_told_instead_of_measured(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    with fake_gateway(tmp_path / "clock") as gateway:
        write_clock(tmp_path / "clock", 0, 0.0)
        gateway.refuse["/predict"] = [404, 404]
        write_private(state.endpoints_file, {"gateway": gateway.url})
        write_private(state.credentials_file, {"demo_key": "key"})
        said = CliRunner().invoke(bench, ["--seconds", "60", "--state", str(tmp_path)])
        assert gateway.refuse["/predict"] == [404]
    assert said.exit_code == 1
    assert "not now (unavailable, HTTP 404)" in said.output
