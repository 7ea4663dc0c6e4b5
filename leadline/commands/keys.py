"""``leadline keys``: who may ask, and how much."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import click

from leadline.client import Client
from leadline.state import StateDir, state_option

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. A key is shown once, when it is made."""


@keys.command()
@state_option
@click.argument("principal")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="Such as predict, predict:delay, labels:write, monitor:read; may be given often.",
)
@click.option("--expires-in", help="Such as 12h or 90d; without it the key does not expire.")
@click.option("--quota-rows", type=int, help="Rows that may be asked for in a window.")
@click.option("--window-s", type=int, help="Seconds of that window.")
@json_option
def create(
    state: StateDir,
    principal: str,
    scopes: tuple[str, ...],
    expires_in: str | None,
    quota_rows: int | None,
    window_s: int | None,
    as_json: bool,
) -> None:
    """Make a key for PRINCIPAL.

    That is an application or a person, which may have two, so that one can follow the other.
    """
    asked = {
        "principal": principal,
        "scopes": list(scopes),
        "expires_in_s": None if expires_in is None else seconds_of(expires_in),
        "quota_rows": quota_rows,
        "window_s": window_s,
    }
    with Client.from_state(state) as client:
        made = client.post("/v1/keys", {k: v for k, v in asked.items() if v is not None})
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(f"{made['key']}\n")
    click.echo(f"Key {made['id']} of {principal}; it will not be shown again.")
    click.echo(f"Use it as: curl -H 'Authorization: Bearer {made['key']}' …")


@keys.command(name="list")
@state_option
@click.option("--all", "everything", is_flag=True, help="Revoked and expired ones, too.")
@json_option
def list_keys(state: StateDir, everything: bool, as_json: bool) -> None:
    """List keys, without their secrets."""
    with Client.from_state(state) as client:
        found: list[dict[str, Any]] = client.get("/v1/keys")["keys"]
    now_us = datetime.now(UTC).timestamp() * 1e6
    shown = [key for key in found if everything or state_of(key, now_us) == "live"]
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for key in shown:
        quota = f"{key['quota_rows']:,} rows / {key['window_s']} s"
        line = f"{key['id']}  {key['principal']:20} {state_of(key, now_us):8} {quota:28}"
        click.echo(f"{line} {' '.join(key['scopes'])}")


@keys.command()
@state_option
@click.argument("key_id")
@json_option
def revoke(state: StateDir, key_id: str, as_json: bool) -> None:
    """End the key of that id; every gateway refuses it within 5 s."""
    with Client.from_state(state) as client:
        gone = client.send("DELETE", f"/v1/keys/{key_id}").json()
    click.echo(json.dumps(gone, indent=2) if as_json else f"Key {key_id} is revoked.")


def seconds_of(text: str) -> int:
    """``90d``, ``12h``, ``30m`` or ``45s`` in seconds. Raises ``click.UsageError``."""
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match is None:
        raise click.UsageError("--expires-in is a number with s, m, h or d, such as 90d.")
    return int(match[1]) * _SECONDS[match[2]]


def state_of(key: dict[str, Any], now_us: float) -> str:
    """``live``, ``revoked`` or ``expired``."""
    if key["revoked_us"] is not None:
        return "revoked"
    return "live" if key["expires_us"] is None or now_us < key["expires_us"] else "expired"
