"""The keys that the first start makes; later starts find them."""

import secrets
from functools import partial
from pathlib import Path

from gateway.domain.keys import dump_keys, load_keys, mint_key
from kit.clock import SystemClock
from leadline.state import StateDir, write_private

OWNER_QUOTA_ROWS = 30_000_000
"""A minute, for the keys of whoever runs the platform: no load test from here reaches it."""

DEMO_SCOPES = ("predict", "labels:write", "features:read", "registry:read", "monitor:read")


def make_keys(state: StateDir) -> str | None:
    """Make the admin and the demo key unless they exist. Returns the admin key when it is new."""
    folder = state.root / "gateway"
    if state.credentials_file.exists() and (folder / "keys.json").exists():
        return None
    folder.mkdir(exist_ok=True, mode=0o700)
    pepper, now_us = _pepper(folder), SystemClock().wall_us()
    mint = partial(mint_key, "local", pepper=pepper, now_us=now_us, quota_rows=OWNER_QUOTA_ROWS)
    admin_key, admin = mint("admin", ["admin"])
    demo_key, demo = mint("demo", DEMO_SCOPES)
    earlier = folder / "keys.json"
    known = load_keys(earlier.read_bytes()) if earlier.exists() else ()
    write_private(earlier, dump_keys([*known, admin, demo]).decode())
    write_private(state.credentials_file, {"admin_key": admin_key, "demo_key": demo_key})
    return admin_key


def make_first_key(state: StateDir, env: str) -> str | None:
    """Make an admin key where there is no key at all; it is returned and kept nowhere in clear.

    For platforms that other than ``leadline up`` start: they print it once to who set them up.
    """
    folder = state.root / "gateway"
    if (folder / "keys.json").exists():
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now_us = SystemClock().wall_us()
    admin_key, admin = mint_key(env, "admin", ["admin"], pepper=_pepper(folder), now_us=now_us)
    write_private(folder / "keys.json", dump_keys([admin]).decode())
    return admin_key


def _pepper(folder: Path) -> bytes:
    """The secret without which the stored digests are worthless."""
    path = folder / "pepper"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path.read_bytes()
