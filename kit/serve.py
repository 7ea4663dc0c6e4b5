"""Runs a service's application: passed socket, uvloop, httptools, and a drain at the end."""

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from kit.settings import ServiceSettings

KEEP_ALIVE_S = 75
"""Longer than the 65 s that clients of the Open Inference Protocol keep a connection."""


def run(app: FastAPI, settings: ServiceSettings, **options: Any) -> None:
    """Serve ``app`` until SIGTERM or SIGINT; ``options`` are uvicorn's (the gateway's protocol)."""
    config = uvicorn.Config(
        app,
        **{
            "host": settings.host,
            "port": settings.port,
            "loop": "uvloop",
            "http": "httptools",  # h11 accepts requests with both lengths, and so smuggling
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
    server = uvicorn.Server(config)
    sockets = None
    if settings.listen_fd is not None:
        sockets = [socket.socket(fileno=settings.listen_fd)]
    server.run(sockets=sockets)
