from pathlib import Path

import pytest
from click.testing import CliRunner

from leadline.commands.bench import bench


@pytest.mark.parametrize("instance", ["[1", "[1]", "1", "null"])
def test_what_is_no_instance_is_not_asked(instance: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(bench, ["--instance", instance, "--state", str(tmp_path)])
    assert said.exit_code == 2
    assert "--instance is a JSON object" in said.output
