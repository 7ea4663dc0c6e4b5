"""Damage of one key's values is that key's alone."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.adapters.online_memory import MemoryStore
from feature_store.domain import windows
from tests.feature_store.test_parity import KEYS, REFS, THING, Push, World

VALUES = {"x": 3, "y": 0.5, "s": "é", "big": -7, "f": True}
HISTORY = [
    Push(1_000_000, key, 0, 0, VALUES, deleted=False) for key in (*KEYS[:3], *KEYS[:3], KEYS[0])
]


async def answers_before_and_after(folder: Path, field: int, garbage: bytes) -> Any:
    """What every key is told before and after one field of the first key is overwritten."""
    store = MemoryStore()
    world = World(folder, store, store, None)
    try:
        for one in HISTORY:
            await world.push(one)
        await world.materializer.catch_up()
        before = await world.online()
        encoder = world.plan.groups[0].encoder
        [key] = encoder.of_rows([dict(zip(THING.keys, KEYS[0], strict=True))])
        assert key is not None
        fields = world.plan.groups[0].fields(world.clock.now_us())
        await store.put([(key, {fields[field % len(fields)]: garbage})])
        return before, await world.online()
    finally:
        world.close()


def damage(field: int, garbage: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(answers_before_and_after(Path(folder), field, garbage))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 20), st.binary(max_size=120), st.sampled_from([0, 2, 64]))
def test_garbage_in_one_key_changes_no_answer_about_another(
    field: int, garbage: bytes, inline_max: int
) -> None:
    patched, windows.INLINE_ROWS_MAX = windows.INLINE_ROWS_MAX, inline_max
    try:
        before, after = damage(field, garbage)
    finally:
        windows.INLINE_ROWS_MAX = patched
    assert after[1:] == before[1:]


@pytest.mark.parametrize(("field", "view"), [(0, "now"), (1, "aged"), (2, "win"), (4, "win")])
def test_what_cannot_be_read_is_unavailable_and_has_no_value(field: int, view: str) -> None:
    before, after = damage(field, b"garbage")
    lost = [
        (ref, value)
        for ref, (value, status) in zip(REFS, after[0], strict=True)
        if status == "UNAVAILABLE"
    ]
    assert {ref.partition(":")[0] for ref, _ in lost} == {view}
    assert {value for _, value in lost} == {None}
    others = [i for i, ref in enumerate(REFS) if not ref.startswith(f"{view}:")]
    assert [after[0][i] for i in others] == [before[0][i] for i in others]
