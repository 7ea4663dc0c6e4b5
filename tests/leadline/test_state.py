"""The state directory keeps secrets to its owner."""

import stat
from pathlib import Path

import click
import pytest

from leadline.local.keys import make_keys
from leadline.state import StateDir, write_private


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", {"a": 1})
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_without_a_platform_the_user_is_told_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=f"leadline up --state {tmp_path}$"):
        StateDir(tmp_path).read_endpoints()


def test_what_is_to_be_pasted_names_the_directory_unless_it_is_the_default(tmp_path: Path) -> None:
    assert StateDir(Path(".leadline").absolute()).flag == ""
    assert StateDir(tmp_path / "a b").flag == f" --state '{tmp_path}/a b'"


def test_a_long_path_keeps_its_sockets_elsewhere_and_privately(tmp_path: Path) -> None:
    state = StateDir(tmp_path / ("long" * 30))
    state.make()
    assert len(str(state.socket_dir)) < 100
    assert stat.S_IMODE(state.socket_dir.stat().st_mode) == 0o700
    assert state.socket_dir == StateDir(tmp_path / ("long" * 30)).socket_dir
    state.socket_dir.rmdir()


def test_keys_are_made_once_and_stored_only_as_digests(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    admin_key = make_keys(state)
    assert admin_key is not None
    assert make_keys(state) is None
    assert state.read_credentials()["admin_key"] == admin_key
    stored = (tmp_path / "gateway" / "keys.json").read_text()
    assert admin_key.split("_")[3] not in stored
