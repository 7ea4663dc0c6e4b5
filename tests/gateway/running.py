"""A whole gateway for tests: the real application behind the real edge, on a free port."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from gateway.adapters.edge_httptools import EdgeProtocol
from gateway.app import Gateway, build
from gateway.domain.keys import KeyRecord, dump_keys, load_keys, mint_key
from gateway.settings import GatewaySettings
from kit.clock import Clock, SystemClock
from tests.polling import until

PEPPER = b"pepper-of-the-tests-0123456789"
TOKEN = "token-of-the-services"


@dataclass(slots=True, eq=False)
class Running:
    """A gateway that listens."""

    gateway: Gateway
    settings: GatewaySettings
    port: int
    http: httpx.AsyncClient

    async def ready(self) -> None:
        """Wait until it takes questions."""

        async def is_ready() -> bool:
            return (await self.http.get("/readyz")).status_code == 200

        await until(is_ready)

    async def raw(self, *pieces: bytes, limit_s: float = 5.0) -> bytes:
        """Send bytes as they are, and read until the other side closes or a time has passed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(limit_s):
                return await reader.read()
        finally:
            writer.close()

    @asynccontextmanager
    async def wire(self) -> AsyncIterator["Wire"]:
        """A connection that lasts over many requests."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()


@dataclass(slots=True, eq=False)
class Wire:
    """One connection, on which bytes are sent as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> bytes:
        """Send, and read one whole answer."""
        self.writer.write(request)
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            assert length is not None, head
            return head + await self.reader.readexactly(int(length[1]))


def make_key(state: Path, principal: str, *scopes: str, **options: Any) -> str:
    """A key that the gateway of this state directory finds at its start."""
    now_us = SystemClock().wall_us()
    key, record = mint_key("test", principal, scopes, pepper=PEPPER, now_us=now_us, **options)
    add_record(state, record)
    return key


def add_record(state: Path, record: KeyRecord) -> None:
    """Put a record into the snapshot."""
    file = state / "gateway" / "keys.json"
    file.parent.mkdir(exist_ok=True)
    known = load_keys(file.read_bytes()) if file.exists() else ()
    file.write_bytes(dump_keys([*known, record]))


@asynccontextmanager
async def running_gateway(state: Path, redis_url: str, **options: Any) -> AsyncIterator[Running]:
    """Start a gateway in this event loop; its settings are the defaults and ``options``.

    One option is no setting: the ``clock``, the machine's unless given.
    """
    clock: Clock | None = options.pop("clock", None)
    (state / "gateway").mkdir(exist_ok=True)
    (state / "gateway" / "pepper").write_bytes(PEPPER)
    settings = GatewaySettings.model_validate(
        {
            "state_dir": state,
            "redis_url": redis_url,
            "service_token": TOKEN,
            "keys_poll_s": 0.05,
            **options,
        }
    )
    gateway = build(settings, clock)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        gateway.app,
        http=partial(EdgeProtocol, gateway.edge),  # type: ignore[arg-type]  # a factory serves
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve([listener]))
    try:
        await until(lambda: server.started or serving.done())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            yield Running(gateway, settings, port, http)
    finally:
        server.should_exit = True
        await serving
