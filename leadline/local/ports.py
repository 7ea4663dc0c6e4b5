"""Listening sockets: the default port, or the next one that is free."""

import socket
from collections.abc import Collection

PORTS_TRIED_MAX = 100
LISTEN_BACKLOG = 2048


def listen(host: str, port: int, leave: Collection[int] = ()) -> socket.socket:
    """A listening TCP socket on ``port`` or the next free one; port 0 lets the system choose.

    Ports in ``leave`` are left to others. Raises ``OSError`` when none of a hundred is free.
    """
    for candidate in range(port, port + PORTS_TRIED_MAX):
        if candidate != port and candidate in leave:
            continue
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # A port in TIME_WAIT is free for us; one that is listened on is not, flag or no flag.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, candidate))
            sock.listen(LISTEN_BACKLOG)
        except OSError:
            sock.close()
            continue
        return sock
    raise OSError(f"no free port from {port} to {port + PORTS_TRIED_MAX - 1}")


def port_of(sock: socket.socket) -> int:
    """The port a socket is bound to."""
    return int(sock.getsockname()[1])
