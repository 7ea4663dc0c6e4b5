"""Waiting in tests: for a condition, with a deadline, never for a while."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], limit_s: float = 15.0) -> None:
    """Poll ``condition`` until it holds. Raises ``TimeoutError`` after ``limit_s``."""
    async with asyncio.timeout(limit_s):
        while True:
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.01)
