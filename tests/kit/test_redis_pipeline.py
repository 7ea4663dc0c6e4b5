"""The hot path's Redis connection, against a real server."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.redis_pipeline import PipelinedRedis, RedisAway, RedisError, pack_each
from leadline.local.embedded_redis import find_server
from tests.polling import until


@asynccontextmanager
async def connected(url: str, timeout_ms: float = 2000) -> AsyncIterator[PipelinedRedis]:
    client = PipelinedRedis(url, timeout_ms=timeout_ms)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def test_each_caller_gets_its_own_reply(redis_url: str) -> None:
    async with connected(redis_url) as client:
        replies = await asyncio.gather(*(client.execute("ECHO", f"v{i}") for i in range(500)))
    assert replies == [f"v{i}".encode() for i in range(500)]


async def test_many_commands_share_one_future_and_errors_stand_in_the_list(redis_url: str) -> None:
    async with connected(redis_url) as client:
        await client.execute("SET", "text", "abc")
        whole = await client.execute_many([("GET", "text"), ("INCR", "text"), ("GET", "none")])
    assert whole[0] == b"abc"
    assert isinstance(whole[1], RedisError)
    assert whole[2] is None


async def test_a_single_command_among_many_is_still_a_list(redis_url: str) -> None:
    async with connected(redis_url) as client:
        assert await client.execute_many([("ECHO", "alone")]) == [b"alone"]
        [error] = await client.execute_many([("NOSUCH",)])
    assert isinstance(error, RedisError)


async def test_one_command_for_each_key_is_answered_in_the_order_of_the_keys(
    redis_url: str,
) -> None:
    async with connected(redis_url) as client:
        await client.execute_many([("HSET", f"h{i}", "a", i, "b", -i) for i in range(3)])
        asked = [
            (b"HMGET", [b"h1"], [b"b"]),
            (b"EXISTS", [], []),
            (b"HMGET", [b"h2", b"none", b"h0"], [b"a", b"b"]),
        ]
        found = await client.execute_each(asked)
        assert found == [[b"-1"], [b"2", b"-2"], [None, None], [b"0", b"0"]]
        assert await client.execute_each([]) == []
        [error] = await client.execute_each([(b"NOSUCH", [b"key"], [])])
    assert isinstance(error, RedisError)


@given(
    st.binary(min_size=1),
    st.lists(st.binary(), max_size=5),
    st.lists(st.binary(), max_size=5),
)
def test_packing_for_each_key_is_packing_each_command(
    name: bytes, keys: list[bytes], after: list[bytes]
) -> None:
    each = [hiredis.pack_command((name, key, *after)) for key in keys]
    assert pack_each(name, keys, after) == b"".join(each)


async def test_an_error_reply_raises_for_its_caller_only(redis_url: str) -> None:
    async with connected(redis_url) as client:
        bad, good = client.execute("NOSUCH"), client.execute("PING")
        with pytest.raises(RedisError):
            await bad
        assert await good == b"PONG"


async def test_a_caller_that_leaves_does_not_shift_the_replies(redis_url: str) -> None:
    async with connected(redis_url) as client:
        first, second, third = (client.execute("ECHO", text) for text in ("a", "b", "c"))
        second.cancel()
        assert (await first, await third) == (b"a", b"c")


async def test_an_absent_server_fails_at_once(tmp_path: Path) -> None:
    async with connected(f"unix://{tmp_path}/none.sock") as client:
        assert not client.connected
        with pytest.raises(RedisAway):
            await client.execute("PING")


async def test_a_stalled_server_fails_in_time_and_is_reconnected(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    command = [str(find_server()), "--port", "0", "--unixsocket", str(path), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        async with connected(f"unix://{path}", timeout_ms=100) as client:
            await until(lambda: client.connected)
            os.kill(server.pid, signal.SIGSTOP)
            with pytest.raises(RedisAway):
                await client.execute("PING")
            os.kill(server.pid, signal.SIGCONT)
            await until(lambda: client.connected)
            assert await client.execute("PING") == b"PONG"
    finally:
        server.kill()
        server.wait()


async def test_what_a_long_turn_kept_from_being_written_is_not_late(redis_url: str) -> None:
    async with connected(redis_url, timeout_ms=20) as client:
        reply = client.execute("PING")
        time.sleep(0.1)  # noqa: ASYNC251 - the turn of a thousand callers
        assert await reply == b"PONG"
        assert client.connected


class Busy(asyncio.Protocol):
    """Hears something, and keeps the loop for 100 ms; the server answers at its beginning."""

    def __init__(self, answer: threading.Event) -> None:
        self._answer = answer

    def data_received(self, _: bytes) -> None:
        self._answer.set()
        time.sleep(0.1)


def one_pong_now_and_one_later(listening: socket.socket, later: threading.Event) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"+PONG\r\n")
        connection.recv(100)
        if later.wait(10):
            connection.sendall(b"+PONG\r\n")
        connection.recv(100)  # until the other side has gone


async def test_a_reply_that_is_there_but_unread_is_not_late(tmp_path: Path) -> None:
    """uvloop looks what can be read, hands it all on, and then goes through its timers."""
    later, (mine, other) = threading.Event(), socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listening, other:
        listening.bind(str(tmp_path / "r.sock"))
        listening.listen()
        server = threading.Thread(target=one_pong_now_and_one_later, args=(listening, later))
        server.start()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: Busy(later), sock=mine)
        async with connected(f"unix://{tmp_path}/r.sock", timeout_ms=20) as client:
            reply = client.execute("PING")
            await asyncio.sleep(0)
            other.send(b"1")
            assert await reply == b"PONG"
            assert client.connected
        transport.close()
        await asyncio.to_thread(server.join, 10)


class SlowServer:
    """Answers a ping at a time, so long after the one before."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        while data := await reader.read(10_000):
            for _ in range(data.count(b"PING")):
                if not reader.at_eof():
                    writer.write(b"+PONG\r\n")
                    await asyncio.sleep(self._seconds)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.open -= 1


async def test_a_server_that_falls_behind_is_given_up_though_it_answers(tmp_path: Path) -> None:
    slow = SlowServer(0.02)
    server = await asyncio.start_unix_server(slow.serve, tmp_path / "r.sock")
    async with connected(f"unix://{tmp_path}/r.sock", timeout_ms=200) as client:
        asked = [client.execute("PING") for _ in range(100)]
        replies = await asyncio.gather(*asked, return_exceptions=True)
    server.close()
    await until(lambda: not slow.open)  # the client came again after it had given up
    answered = replies.count(b"PONG")
    assert 0 < answered < 100
    assert {type(reply) for reply in replies[answered:]} == {RedisAway}


class LoadingServer:
    """Accepts connections, but refuses the first asks as a server that loads its data does."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals
        self.accepted = 0
        self.open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open.append(writer)
        loading = self.accepted <= self._refusals
        while await reader.read(1000):
            writer.write(b"-LOADING the dataset\r\n" if loading else b"+PONG\r\n")
        self.open.remove(writer)
        writer.close()


async def test_a_server_that_loads_is_not_left_with_connections(tmp_path: Path) -> None:
    loading = LoadingServer(refusals=3)
    async with await asyncio.start_unix_server(loading.serve, tmp_path / "r.sock"):
        async with connected(f"unix://{tmp_path}/r.sock") as client:
            await until(lambda: client.connected)
            assert loading.accepted == 4
            await until(lambda: len(loading.open) == 1)
        await until(lambda: loading.open == [])


async def test_a_given_up_connection_that_closes_late_stops_nobody(tmp_path: Path) -> None:
    loading = LoadingServer(refusals=1)
    async with await asyncio.start_unix_server(loading.serve, tmp_path / "r.sock"):
        async with connected(f"unix://{tmp_path}/r.sock") as client:
            await until(lambda: client.connected)
            client._lost.set()  # as the end of an earlier connection does
            async with asyncio.timeout(1):
                assert await client.execute("PING") == b"PONG"
        await until(lambda: loading.open == [])
