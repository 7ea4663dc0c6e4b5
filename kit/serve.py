"""Runs a service's application: passed socket, uvloop, httptools, and a drain at the end."""

import asyncio
import gc
import resource
import socket
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from kit.one_write import OneWriteProtocol
from kit.settings import ServiceSettings

KEEP_ALIVE_S = 75
"""Longer than the 65 s that clients of the Open Inference Protocol keep a connection."""


YOUNG_OBJECTS_MAX = 50_000
"""Objects between two looks for garbage cycles. At Python's 700, 64 requests in flight trigger one
all the time: a quarter of the gateway's processor time (perf on bench/serving, concurrency 64)."""


class _DrainingServer(uvicorn.Server):
    """Tells the application that it is about to stop, before connections are waited for."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what was imported and built stays; no collection looks at it again
        gc.set_threshold(YOUNG_OBJECTS_MAX, 20, 20)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._app.state.draining.begin)
        super().handle_exit(sig, frame)


def use_all_files() -> None:
    """Raise the limit of open files to what the system allows: containers and shells begin at
    1,024, and a process without one left accepts nobody, silently."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS: "unlimited" is more than it lets a process have
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(app: FastAPI, settings: ServiceSettings, **options: Any) -> None:
    """Serve ``app`` until SIGTERM or SIGINT; ``options`` are uvicorn's (the gateway's protocol)."""
    config = uvicorn.Config(
        app,
        **{
            "host": settings.host,
            "port": settings.port,
            "loop": "uvloop",
            "http": OneWriteProtocol,  # httptools: h11 takes both lengths, and so smuggling
            "ws": "none",
            "lifespan": "on",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "date_header": True,
            "proxy_headers": False,
            "timeout_keep_alive": KEEP_ALIVE_S,
            "timeout_graceful_shutdown": int(settings.drain_s),
            **options,
        },
    )
    use_all_files()
    server = _DrainingServer(config, app)
    sockets = None
    if settings.listen_fd is not None:
        sockets = [socket.socket(fileno=settings.listen_fd)]
    server.run(sockets=sockets)
