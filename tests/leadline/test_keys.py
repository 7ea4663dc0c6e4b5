"""First keys: made once, proven by what is stored, and not stored themselves."""

import stat
from pathlib import Path

from click.testing import CliRunner

from gateway.domain.keys import load_keys, proves
from leadline.cli import main
from leadline.local.keys import make_first_key
from leadline.state import StateDir


def test_the_first_key_is_an_admins_and_is_kept_nowhere_in_clear(tmp_path: Path) -> None:
    key = make_first_key(StateDir(tmp_path), "prod")
    assert key is not None
    assert key.startswith("ll_prod_")
    folder = tmp_path / "gateway"
    (record,) = load_keys((folder / "keys.json").read_bytes())
    assert record.scopes == ("admin",) or "admin" in record.scopes
    assert proves(key.encode(), record, (folder / "pepper").read_bytes())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert key not in path.read_text()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_start_makes_no_key(tmp_path: Path) -> None:
    runner = CliRunner()
    first = runner.invoke(main, ["init", "--state", str(tmp_path)])
    second = runner.invoke(main, ["init", "--state", str(tmp_path)])
    assert first.exit_code == second.exit_code == 0
    assert "admin key" in first.output
    assert "nothing was made" in second.output
