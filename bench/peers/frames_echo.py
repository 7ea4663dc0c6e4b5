"""A replica that answers every ask with the same prediction: what the gateway costs, alone."""

import asyncio
import sys
from typing import cast

import uvloop

from contracts.frames import Answer, FrameKind, FrameReader, pack_answer

_BODY = (
    b'{"request_id":"00000000000000000000000000000000","model":"speed","version":"1",'
    b'"variant":"production","predictions":[{"prediction":1,"probability":0.5}],"cache":"off"}'
)
_ANSWER = Answer(200, _BODY)


class Echo(asyncio.Protocol):
    """One gateway's connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, but do what theirs do.
        self._transport = cast("asyncio.Transport", transport)
        self._frames = FrameReader()

    def data_received(self, data: bytes) -> None:
        out = [
            pack_answer(frame_id, _ANSWER)
            for kind, frame_id, _ in self._frames.feed(data)
            if kind != FrameKind.CANCEL
        ]
        if out:
            self._transport.write(b"".join(out))


async def main(path: str) -> None:
    """Listen on a unix socket until killed."""
    server = await asyncio.get_running_loop().create_unix_server(Echo, path)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
