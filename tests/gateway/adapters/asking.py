"""Asks of a pool of replicas, and replicas that answer with their name."""

from collections.abc import Callable

import pytest

from contracts.frames import Answer, Ask, FrameKind
from contracts.problems import ProblemCode
from gateway.adapters.replicas_frames import ReplicasFrames
from kit.deadline import Deadline
from kit.problems import Problem


def ask(body: bytes = b"{}", target: str = "delay") -> Ask:
    return Ask(1000, b"0" * 16, target, "ann", "", b"", body)


def named(name: bytes, *, retryable: bool = False) -> Callable[[int, Ask], Answer]:
    return lambda kind, asked: Answer(503 if retryable else 200, name, retryable)


async def send(
    pool: ReplicasFrames, rows: int = 1, *, limit_ms: float = 2000, target: str = "delay"
) -> Answer:
    asked = ask(target=target)
    return await pool.ask(FrameKind.PREDICT, asked, rows, Deadline.after_ms(limit_ms))


async def refused(pool: ReplicasFrames, **options: float) -> ProblemCode:
    with pytest.raises(Problem) as caught:
        await send(pool, **options)  # type: ignore[arg-type]
    return caught.value.code
