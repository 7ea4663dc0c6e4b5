import asyncio
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from leadline.commands.keys import seconds_of, state_of
from tests.gateway.running import make_key, running_gateway


async def run(state: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of ``leadline keys``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "leadline", "keys", *arguments, "--state", str(state),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_key_is_made_listed_and_revoked(tmp_path: Path, redis_url: str) -> None:
    admin = make_key(tmp_path, "root", "admin")
    async with running_gateway(tmp_path, redis_url) as gateway:
        (tmp_path / "endpoints.json").write_text(
            json.dumps({"gateway": f"http://127.0.0.1:{gateway.port}"})
        )
        (tmp_path / "credentials.json").write_text(json.dumps({"admin_key": admin}))
        made = await run(
            tmp_path, "create", "svc", "--scope", "predict:delay", "--expires-in", "90d", "--json"
        )
        key = json.loads(made[1])
        assert key["scopes"] == ["predict:delay"]
        assert key["expires_us"] - key["created_us"] == 90 * 86_400 * 1_000_000
        _, shown = await run(tmp_path, "list")
        assert "svc" in shown
        assert "predict:delay" in shown
        assert key["key"] not in shown
        assert (await run(tmp_path, "revoke", key["id"]))[0] == 0
        assert "svc" not in (await run(tmp_path, "list"))[1]
        assert "revoked" in (await run(tmp_path, "list", "--all"))[1]
        code, said = await run(tmp_path, "create", "svc", "--scope", "root")
        assert code == 1
        assert "Scopes are among" in said
        assert (await run(tmp_path, "revoke", "none"))[0] == 1


def test_durations_are_read_or_refused() -> None:
    assert [seconds_of(text) for text in ("45s", "30m", "12h", "90d")] == [
        45,
        1800,
        43_200,
        7_776_000,
    ]
    for text in ("", "0d", "5", "d", "1w", "-1d"):
        with pytest.raises(click.UsageError):
            seconds_of(text)


def test_a_key_is_live_expired_or_revoked() -> None:
    assert state_of({"revoked_us": None, "expires_us": None}, 5) == "live"
    assert state_of({"revoked_us": None, "expires_us": 5}, 5) == "expired"
    assert state_of({"revoked_us": 1, "expires_us": None}, 5) == "revoked"
