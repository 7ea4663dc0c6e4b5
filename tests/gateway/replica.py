"""A replica that speaks the real frames and answers by a rule; it stands in for inference."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson

from contracts.frames import (
    Answer,
    Ask,
    FrameKind,
    FrameReader,
    pack_answer,
    pack_hello,
    pack_signal,
    unpack_ask,
)

Rule = Callable[[int, Ask], Answer | None]
"""(kind, ask) -> the answer, or None for no answer at all."""


def echo(kind: int, ask: Ask) -> Answer:
    """Answers with what was asked, a model called ``absent`` with 404."""
    if ask.target == "absent":
        headers = b"content-type: application/problem+json\n"
        return Answer(404, b'{"code":"not-found"}', headers=headers)
    body = orjson.loads(ask.body) if ask.body else None
    seen = {
        "kind": kind,
        "target": ask.target,
        "principal": ask.principal,
        "request_id": ask.request_id.hex(),
        "headers": ask.headers.decode("utf-8", "replace"),
        "traceparent": ask.traceparent,
        "explain": ask.explain,
        "remaining_ms": ask.remaining_ms,
        "body": body,
    }
    return Answer(200, orjson.dumps(seen))


class FakeReplica:
    """Listens on a unix socket, or a TCP address. Counts what it was asked and what was cancelled.

    While it ``holds`` it answers nothing; ``let_go`` answers what it has held.
    """

    def __init__(self, at: Path | tuple[str, int], rule: Rule = echo) -> None:
        self.address = f"unix://{at}" if isinstance(at, Path) else f"tcp://{at[0]}:{at[1]}"
        self._at = at
        self.rule = rule
        self.holds = False
        self.faults: list[Exception] = []
        """Of the rule: each closes the connection, which looks like a replica that went away."""
        self.asked: list[Ask] = []
        self.reads: list[int] = []
        """Frames that each read brought."""
        self.cancelled = 0
        self.delay_s = 0.0
        """How long each answer takes."""
        self.spent_s: float | None = None
        """What each answer says of that; None: the truth."""
        self.tokens: list[str] = []
        """What gateways said HELLO with, over TCP."""
        self.hello = pack_hello()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._held: list[tuple[asyncio.StreamWriter, int, int, Ask]] = []

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._writers)

    async def start(self) -> None:
        """Listen."""
        if isinstance(self._at, Path):
            self._at.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._at)
        else:
            self._server = await asyncio.start_server(self._serve, *self._at)

    async def stop(self) -> None:
        """Die: the listener and every connection."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if isinstance(self._at, Path):
            self._at.unlink(missing_ok=True)
        await asyncio.sleep(0)

    def go_away(self) -> None:
        """Say that no new asks are wanted on the connections there are."""
        for writer in self._writers:
            writer.write(pack_signal(FrameKind.GOAWAY))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        self._writers.add(writer)
        try:
            while data := await reader.read(1 << 20):
                whole = list(frames.feed(data))
                self.reads.append(len(whole))
                for kind, frame_id, payload in whole:
                    self._take(writer, kind, frame_id, payload)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _take(self, writer: asyncio.StreamWriter, kind: int, frame_id: int, payload: bytes) -> None:
        if kind == FrameKind.CANCEL:
            self.cancelled += 1
            return
        if kind == FrameKind.HELLO:
            self.tokens.append(payload.decode())
            writer.write(self.hello)
            return
        ask = unpack_ask(payload)
        self.asked.append(ask)
        if self.holds:
            self._held.append((writer, kind, frame_id, ask))
        else:
            self._answer(writer, kind, frame_id, ask)

    def let_go(self) -> None:
        """Answer what was held, and hold no more."""
        self.holds, held, self._held = False, self._held, []
        for each in held:
            self._answer(*each)

    def _answer(self, writer: asyncio.StreamWriter, kind: int, frame_id: int, ask: Ask) -> None:
        try:
            answer = self.rule(kind, ask)
        except Exception as fault:
            self.faults.append(fault)
            raise
        if answer is not None:
            loop = asyncio.get_running_loop()
            spent_s = self.delay_s if self.spent_s is None else self.spent_s
            packed = pack_answer(frame_id, answer, int(spent_s * 1e6))
            loop.call_later(self.delay_s, writer.write, packed)
