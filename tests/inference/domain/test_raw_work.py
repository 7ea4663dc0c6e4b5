"""Who waits is computed once, in order of arrival, and no more at a time than threads can take."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.domain.open_inference import InferHead
from inference.domain.raw_call import Call
from inference.domain.raw_work import SHORT_RUNS_MAX, Waiting, Work


@dataclass
class Engine:
    """Takes ``short`` calls of any size in a short run."""

    short: int
    runs_at_once: int = 2

    def quick(self, rows: int) -> int:
        return self.short


@dataclass
class Limits:
    rows_per_batch_max: int


@dataclass
class Version:
    """What ``Waiting`` looks at of a loaded version."""

    engine: Engine
    manifest: Limits


def version(short: int, rows_max: int = 1_000) -> Any:
    return Version(Engine(short), Limits(rows_max))


def work(loaded: Any, rows: int = 1, name: str = "x") -> Work:
    head = InferHead(None, None, False, (), (), rows, False, ((name, ()),))
    call = Call("POST", "/v2/models/m/infer", {}, b"", b"r" * 16, 0)
    return Work(call, loaded, None, 1, head, {"x": np.zeros((rows, 1))}, 0)


def filled(works: list[Work]) -> Waiting:
    waiting = Waiting()
    for one in works:
        waiting.add(one)
    return waiting


def test_few_calls_are_a_short_run_and_many_one_for_a_thread() -> None:
    loaded = version(short=3)
    few = [work(loaded, 10) for _ in range(3 * SHORT_RUNS_MAX)]
    assert filled(few).take() == (few[:3], False)
    many = [*few, work(loaded, 10)]
    assert filled(many).take() == (many, True)


def test_a_batch_that_may_not_be_long_is_not_worth_a_thread() -> None:
    loaded = version(short=1, rows_max=128)
    assert not filled([work(loaded, 100) for _ in range(20)]).take()[1]
    slow = [work(version(short=0, rows_max=128), 100)]
    assert filled(slow).take() == (slow, True)


def test_kinds_take_turns_and_one_that_the_threads_have_enough_of_waits() -> None:
    slow, quick = version(short=0, rows_max=1), version(short=1)
    a, b = [work(slow) for _ in range(4)], [work(quick), work(quick)]
    waiting = filled([*a, *b])
    taken = [waiting.take() for _ in range(5)]
    assert taken == [(a[:1], True), (b[:1], False), (a[1:2], True), (b[1:], False), ([], True)]
    assert not waiting, "two of the slow kind are under way"
    waiting.done(a[0].kind)
    assert waiting.take() == (a[2:3], True)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 4), st.booleans()), min_size=1, max_size=40
    ),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.integers(1, 8),
)
def test_each_is_taken_once_in_its_kinds_order(
    plan: list[tuple[int, int, bool]], shorts: list[int], rows_max: int
) -> None:
    versions = [version(short, rows_max) for short in shorts]
    works = [work(versions[which], rows) for which, rows, _ in plan]
    waiting, away, seen = Waiting(), [], []

    def take() -> None:
        taken, thread = waiting.take()
        seen.extend(taken)
        assert len({one.kind for one in taken}) <= 1
        if thread and taken:
            away.append(taken[0].kind)
            assert away.count(taken[0].kind) <= cast("Any", taken[0].loaded).engine.runs_at_once

    for one, (_, _, pause) in zip(works, plan, strict=True):
        waiting.add(one)
        while pause and waiting:
            take()
    while waiting or away:
        while waiting:
            take()
        if away:
            waiting.done(away.pop(0))
    for loaded in versions:
        mine = [one for one in works if one.loaded is loaded]
        assert [one for one in seen if one.loaded is loaded] == mine
    assert len(seen) == len(works)
