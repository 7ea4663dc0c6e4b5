"""Background tasks that are owned: started by name, restarted when they fail, stopped together."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from kit.logs import get_logger

_log = get_logger(__name__)

RESTART_DELAY_S_MAX = 30.0


class TaskOwner:
    """Owns the background tasks of one process or component.

    A task that raises is logged and, when started with ``restart``, started again with a delay
    that doubles from 0.1 s to 30 s. ``stop`` cancels all and waits for them.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], str] = {}

    def start(
        self, name: str, work: Callable[[], Awaitable[None]], *, restart: bool = False
    ) -> asyncio.Task[None]:
        """Run ``work()`` in the background under ``name``."""
        task = asyncio.get_running_loop().create_task(self._run(name, work, restart), name=name)
        self._tasks[task] = name
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def _run(self, name: str, work: Callable[[], Awaitable[None]], restart: bool) -> None:
        delay_s = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await work()
                return
            except Exception:  # noqa: BLE001 - the task's owner is an edge
                _log.exception("background_task_failed", task=name, restarts=restart)
            if not restart:
                return
            if asyncio.get_running_loop().time() - began > RESTART_DELAY_S_MAX:
                delay_s = 0.1
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_DELAY_S_MAX)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks that run."""
        return tuple(self._tasks.values())

    async def stop(self) -> None:
        """Cancel every task and wait until each has ended."""
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            # Python 3.11's wait_for, in the clients we use, loses a cancellation that meets a
            # result; so it is said again.
            await asyncio.wait(tasks, timeout=0.5)
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def periodic(
    work: Callable[[], Awaitable[object]], every_s: float
) -> Callable[[], Awaitable[None]]:
    """``work`` again and again, ``every_s`` seconds between an end and the next start."""

    async def loop() -> None:
        while True:
            await work()
            await asyncio.sleep(every_s)

    return loop
