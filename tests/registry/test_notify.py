"""Webhooks: signed, in order, at least once, and never into our own network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook as Verifier

from contracts.identity import Caller
from kit.clock import FakeClock, SystemClock
from kit.problems import Problem
from registry.adapters.webhook_http import HttpWebhookPost
from registry.domain.audit import GENESIS, Act, chain
from registry.domain.webhook import ATTEMPTS_MAX
from registry.notify import Notify, message_id
from tests.registry.scenes import Desk

ADMIN = Caller("root", frozenset({"admin"}))


class Subscriber:
    """A small real HTTP server that answers with the statuses a test gives it."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        original = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in original.items()}, body))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(
            f"HTTP/1.1 {status} X\r\nlocation: http://169.254.169.254/\r\n"
            "content-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Subscriber]:
    subscriber = Subscriber()
    server = await asyncio.start_server(subscriber.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    subscriber.url = f"http://localhost:{port}/hook"
    async with server:
        yield subscriber


@asynccontextmanager
async def notifying(desk: Desk, *, private: bool = True) -> AsyncIterator[Notify]:
    # The signature carries real time, as the receiver checks it against its own clock.
    post = HttpWebhookPost(SystemClock(), 2.0, private=private)
    yield Notify(desk.ledger, post, lambda: "c2VjcmV0" * 4, desk.clock.wall_us, "copy", 10.0)
    await post.close()


@pytest.fixture
async def desk(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[Desk]:
    async with Desk(tmp_path, fake_clock) as desk:
        yield desk


async def test_a_rollout_is_told_signed_and_in_order(desk: Desk) -> None:
    async with listening() as subscriber, notifying(desk) as notify:
        secret = (await notify.subscribe(subscriber.url, None, ADMIN))["secret"]
        await desk.start()
        await desk.look()
        await notify()
        await notify()
        told: list[Any] = [
            Verifier(secret).verify(body, headers) for headers, body in subscriber.got
        ]
        assert [one["type"] for one in told] == ["rollout.start", "rollout.promote"]
        assert told[1]["data"]["reason"].startswith("Promoted to 5 %")
        assert subscriber.got[0][0]["host"].startswith("localhost:")


async def test_a_failure_is_tried_again_later_with_the_same_id_and_nothing_is_skipped(
    desk: Desk,
) -> None:
    async with listening() as subscriber, notifying(desk) as notify:
        await notify.subscribe(subscriber.url, None, ADMIN)
        subscriber.statuses = [500, 302]
        await desk.start()
        for _ in range(3):
            await notify()
            await notify()  # not due yet: asks nobody
            desk.clock.step_us(5_000_000)
        ids = [headers["webhook-id"] for headers, _ in subscriber.got]
        assert len(ids) == 3
        assert len(set(ids)) == 1
        assert (await notify.subscribers())[0]["failing"] == ""


async def test_a_dead_subscriber_is_switched_off_in_the_end(desk: Desk) -> None:
    async with listening() as subscriber, notifying(desk) as notify:
        await notify.subscribe(subscriber.url, None, ADMIN)
        subscriber.statuses = [500] * 100
        await desk.start()
        for _ in range(ATTEMPTS_MAX + 3):
            await notify()
            desk.clock.step_us(3_700_000_000)
        assert len(subscriber.got) == ATTEMPTS_MAX
        assert (await notify.subscribers())[0]["disabled"]


async def test_a_subscriber_hears_only_what_it_asked_for(desk: Desk) -> None:
    async with listening() as subscriber, notifying(desk) as notify:
        await notify.subscribe(subscriber.url, ("rollout.roll_back",), ADMIN)
        await desk.start()
        await desk.roll_back.model("delay", "a test wants it", Caller("x", frozenset({"admin"})))
        await notify()
        assert [orjson.loads(body)["type"] for _, body in subscriber.got] == ["rollout.roll_back"]


async def test_the_audit_log_tells_where_a_webhook_goes_and_not_its_whole_url(desk: Desk) -> None:
    async with listening() as subscriber, notifying(desk) as notify:
        told = await notify.subscribe(f"{subscriber.url}/T0/secret?token=word", None, ADMIN)
        await notify.unsubscribe(told["id"], ADMIN)
        entries = await desk.ledger.read(lambda tx: tx.entries(0, 100))
        acts = [entry for entry in entries if entry.action.startswith("webhook.")]
        assert [entry.after for entry in acts] == [
            {"url": subscriber.url.removesuffix("/hook")}
        ] * 2


@pytest.mark.parametrize(
    "url",
    [
        "https://[64:ff9b::7f00:1]/",  # 127.0.0.1 through NAT64
        "https://[2002:0a00:0001::1]/",  # 10.0.0.1 through 6to4
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:0:127.0.0.1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[fec0::1]/",
        "https://[5f00::1]/",
        "https://224.0.0.1/",
        "https://localhost/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://10.0.0.8/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/hook",
        "http://example.com/hook",
        "https://user:word@8.8.8.8/hook",
        "file:///etc/passwd",
        "not a url",
    ],
)
async def test_an_address_inside_our_network_is_refused(desk: Desk, url: str) -> None:
    async with notifying(desk, private=False) as notify:
        with pytest.raises(Problem):
            await notify.subscribe(url, None, ADMIN)


async def test_the_secret_is_shown_once(desk: Desk) -> None:
    async with listening() as subscriber, notifying(desk) as notify:
        await notify.subscribe(subscriber.url, None, ADMIN)
        shown = (await notify.subscribers())[0]
        assert "secret" not in shown
        await notify.unsubscribe(shown["id"], ADMIN)
        assert await notify.subscribers() == []


def test_an_act_in_the_place_of_one_that_a_restored_log_lost_has_an_id_of_its_own() -> None:
    lost, act = (Act(actor="ann", action="test", reason=reason) for reason in ("lost", "new"))
    ids = {message_id(chain(one, 9, 0, 0, GENESIS)) for one in (lost, act, act)}
    assert len(ids) == 2
