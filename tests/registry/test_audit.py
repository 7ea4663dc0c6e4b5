"""What somebody does to the log in its database, behind the registry's back, shows."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from kit.clock import FakeClock
from kit.telemetry import REGISTRY
from registry.app import build
from tests.polling import until
from tests.registry.conftest import promote, publish, running, settings_for

SWAP = (
    "UPDATE audit SET seq = 99 WHERE seq = 1; UPDATE audit SET seq = 1 WHERE seq = 2;"
    "UPDATE audit SET seq = 2 WHERE seq = 99;"
)


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit SET document = replace(document, 'published', 'pushed') WHERE seq = 2", 2),
        ("UPDATE audit SET document = 'nonsense' WHERE seq = 2", 2),
        ("UPDATE audit SET document = replace(document, '{', '{\"x\":1,') WHERE seq = 2", 2),
        ("UPDATE audit SET model = 'other' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 3", 3),
        (SWAP, 1),
    ],
    ids=str,
)
async def test_tampering_with_the_database_shows_where_it_happened(
    client: httpx.AsyncClient, tmp_path: Path, statement: str, seq: int
) -> None:
    await publish(client, 2.0)
    await publish(client, 3.0)
    await promote(client, "1", "production")
    assert (await client.get("/v1/audit/verify")).json()["intact"] is True
    assert REGISTRY.get_sample_value("registry_audit_broken") == 0
    with closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as database, database:
        database.executescript(statement)
    found = (await client.get("/v1/audit/verify")).json()
    assert (found["intact"], found["broken_at"]) == (False, seq)
    assert REGISTRY.get_sample_value("registry_audit_broken") == 1


@pytest.mark.parametrize("path", ["/v1/audit", "/v1/models/delay/history"])
async def test_an_unreadable_entry_is_named_and_not_shown_as_a_failure_of_ours(
    client: httpx.AsyncClient, tmp_path: Path, path: str
) -> None:
    await publish(client)
    with closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as database, database:
        database.execute("UPDATE audit SET document = 'nonsense'")
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["broken_at"]) == (409, 1)
    assert "entry 1: cannot be read" in answer.json()["detail"]


async def test_a_cursor_that_no_database_could_keep_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/v1/audit?after={2**63}")).status_code == 422
    assert (await client.get(f"/v1/audit?after={2**63 - 1}")).json()["entries"] == []


async def test_a_model_that_is_not_there_has_no_history(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models/delay/history")).status_code == 404


async def test_a_registry_finds_out_by_itself(tmp_path: Path, fake_clock: FakeClock) -> None:
    async with running(build(settings_for(tmp_path), fake_clock)) as client:
        await publish(client)
        await client.get("/v1/audit/verify")
    with closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as database, database:
        database.execute("UPDATE audit SET model = 'other'")

    async def told() -> bool:
        return REGISTRY.get_sample_value("registry_audit_broken") == 1

    assert not await told()
    async with running(build(settings_for(tmp_path), fake_clock)):
        await until(told)
