"""The table goes out by answer, by long poll and by push; reports come in."""

import asyncio
from pathlib import Path

import httpx

from contracts.routing import RoutingTable
from kit.clock import FakeClock, SystemClock
from registry.app import build
from tests.polling import until
from tests.registry.conftest import promote, publish, running, settings_for, speaking_as
from tests.registry.scenes import report


async def test_who_knows_the_epoch_gets_no_table(client: httpx.AsyncClient) -> None:
    first = await client.get("/v1/routing")
    assert first.headers["etag"] == '"0.0"'
    again = await client.get("/v1/routing", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_waiting_replica_gets_a_change_at_once(client: httpx.AsyncClient) -> None:
    await publish(client)
    clock = SystemClock()

    async def wait() -> tuple[RoutingTable, int]:
        answer = await client.get(
            "/v1/routing", params={"wait_s": 20}, headers={"if-none-match": '"0.0"'}
        )
        return RoutingTable.model_validate(answer.json()), clock.monotonic_ns()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait())
        await client.get("/v1/routing")  # the other one waits by now
        await promote(client, "1", "production")
        changed_ns = clock.monotonic_ns()
    table, got_ns = waiting.result()
    assert table.models["delay"].arms[0].version == "1"
    assert got_ns - changed_ns < 1_000_000_000


async def test_who_knows_another_table_of_the_same_epoch_gets_this_one(
    client: httpx.AsyncClient,
) -> None:
    await publish(client)
    await promote(client, "1", "production")
    before_the_restore = {"if-none-match": '"1.1699999999000000"'}
    answer = await client.get("/v1/routing", params={"wait_s": 20}, headers=before_the_restore)
    assert RoutingTable.model_validate(answer.json()).models["delay"].arms[0].version == "1"


async def test_a_table_is_pushed_to_every_replica_that_gave_an_address(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"length" in line
        )
        got.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/internal/routing"
    async with server, running(build(settings_for(tmp_path), fake_clock)) as client:
        seen = report(epoch=0).model_copy(update={"push_url": url})
        await client.put("/v1/replicas/r1", json=seen.model_dump(mode="json"))
        silent = report(replica="r2", epoch=0).model_copy(
            update={"push_url": "http://127.0.0.1:1/internal/routing"}
        )
        await client.put("/v1/replicas/r2", json=silent.model_dump(mode="json"))
        await publish(client)
        await promote(client, "1", "production")
        await until(lambda: bool(got))
    assert RoutingTable.model_validate_json(got[0]).epoch == 1


async def test_only_the_platform_reports(client: httpx.AsyncClient) -> None:
    answer = await client.put(
        "/v1/replicas/r1",
        json=report().model_dump(mode="json"),
        headers=speaking_as("eve", "registry:write"),
    )
    assert answer.status_code == 403


async def test_a_report_speaks_for_its_own_replica(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/replicas/other", json=report().model_dump(mode="json"))
    assert answer.status_code == 422
    fine = await client.put("/v1/replicas/r1", json=report("1").model_dump(mode="json"))
    assert fine.json() == {"epoch": 0}
    assert (await client.get("/v1/replicas")).json()["replicas"][0]["replica"] == "r1"


async def test_a_version_tells_what_the_replicas_say_of_it(client: httpx.AsyncClient) -> None:
    await publish(client)
    page = "/v1/models/delay/versions/1"
    assert (await client.get(page)).json()["replicas"] == []
    for seen in (report("1"), report(replica="r2", failed="1", reason="no operator Foo")):
        await client.put(f"/v1/replicas/{seen.replica}", json=seen.model_dump(mode="json"))
    assert (await client.get(page)).json()["replicas"] == [
        {"replica": "r1", "state": "ready", "reason": ""},
        {"replica": "r2", "state": "failed", "reason": "no operator Foo"},
    ]
