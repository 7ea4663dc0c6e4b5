"""``leadline up`` says what is wrong before it starts anything."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from leadline.commands.up import up


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "it is not there. Check feature_modules."),
        ("from shared_features import Entity\nE = Entity('x', schema={})\n", "line 2 raises"),
        (
            "from shared_features import FeatureService\nS = FeatureService('s', refs=('a:b',))\n",
            "there is no view 'a'; none is known",
        ),
    ],
)
@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_definitions_that_no_service_could_load_start_none(
    tmp_path: Path, content: str | None, told: str, detach: tuple[str, ...]
) -> None:
    file, state = tmp_path / "mine.py", tmp_path / "state"
    if content is not None:
        file.write_text(content)
    command = ["--state", str(state), "--features", str(file), *detach]
    result = CliRunner().invoke(up, command)
    assert result.exit_code == 1
    assert told in result.output
    assert not state.exists()
