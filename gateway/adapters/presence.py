"""Whether whoever asks on a connection is still there to be answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

PRESENCE = "presence"
"""Where an ASGI scope has the ``Presence`` of its connection."""
T = TypeVar("T")


class CallerLeft(Exception):
    """The caller closed the connection: nobody is there to be answered."""


class Presence:
    """The caller of one connection. A connection's requests are worked on one after the other."""

    __slots__ = ("_left", "_working")

    def __init__(self) -> None:
        self._left = False
        self._working: asyncio.Task[Any] | None = None

    def leave(self) -> None:
        """The connection has closed: give up what is worked out for it."""
        self._left = True
        if self._working is not None:
            self._working.cancel()

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns; it is cancelled when the caller leaves. Raises ``CallerLeft``."""
        task = asyncio.current_task()
        assert task is not None
        if self._has_left():
            work.close()
            raise CallerLeft
        self._working = task
        try:
            return await work
        except asyncio.CancelledError:
            if not self._has_left() or task.uncancel():  # somebody else's cancellation goes on
                raise
            raise CallerLeft from None
        finally:
            self._working = None

    def _has_left(self) -> bool:
        return self._left
