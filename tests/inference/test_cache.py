"""Remembered answers: told as such, per version, single-flight, never of errors."""

import asyncio

import orjson
from hypothesis import given
from hypothesis import strategies as st

from contracts.frames import Answer
from contracts.served import CACHED
from inference.domain.cache import AnswerCache, keys_of, seal, unseal
from inference.route import GROUP_ROWS_MAX
from tests.inference.parts import House, asks, body, logistic_model


def told(answers: list[Answer]) -> list[str]:
    return [orjson.loads(answer.body)["cache"] for answer in answers]


async def test_the_same_inputs_are_computed_once_and_told_as_a_hit(house: House) -> None:
    house.serve(house.load("2", cache_ttl_s=60.0))
    first = await house.ask(body("a"))
    second = await house.ask(body("a"), body("b"))
    assert told(first) == ["miss"]
    assert told(second) == ["hit", "miss"]
    rows = [orjson.loads(answer.body)["predictions"] for answer in (first[0], second[0])]
    assert rows[0] == rows[1]
    assert [batch.flags.tolist() for batch in house.spool.batches] == [[0], [CACHED, 0]]


async def test_a_changed_feature_is_another_question(house: House) -> None:
    house.serve(house.load("2", cache_ttl_s=60.0))
    await house.ask(body("a"))
    house.reader.values["a"] = [9.0] * 10
    assert told(await house.ask(body("a"))) == ["miss"]


async def test_another_version_never_reads_the_entry(house: House) -> None:
    house.serve(house.load("2", cache_ttl_s=60.0))
    await house.ask(body("a"))
    house.serve(house.load("3", logistic_model([-0.1] * 10), cache_ttl_s=60.0))
    assert told(await house.ask(body("a"))) == ["miss"]


async def test_a_request_in_several_groups_is_a_hit_only_where_all_its_rows_are(
    house: House,
) -> None:
    house.serve(house.load("2", cache_ttl_s=60.0))
    known = [f"a{index}" for index in range(GROUP_ROWS_MAX)]
    rows = enumerate(["new", *known])
    house.reader.values = {name: [index / 1e4] * 10 for index, name in rows}
    await house.ask(body(*known))
    assert told(await house.ask(body("new", *known))) == ["miss"]
    assert told(await house.ask(body("new", *known))) == ["hit"]


async def test_twins_under_way_are_computed_once(house: House) -> None:
    house.inline_us_max = 0  # so that the run is awaited
    loaded = house.load("2", cache_ttl_s=60.0)
    house.serve(loaded)
    batches = [asks([body("a"), body("a")], house.clock.monotonic_ns()) for _ in range(3)]
    await asyncio.gather(*(house.predict.answer(arrivals) for arrivals, _ in batches))
    answers = [answer for _, found in batches for answer in found.values()]
    assert {answer.status for answer in answers} == {200}
    assert (
        len({orjson.loads(answer.body)["predictions"][0]["probability"] for answer in answers}) == 1
    )
    assert house.runs == 1


def test_the_cache_is_bounded_in_bytes_and_forgets_the_least_used() -> None:
    cache = AnswerCache(2_000)
    for index in range(100):
        cache.put(index.to_bytes(20, "big"), b"x" * 80, 10)
        cache.get((0).to_bytes(20, "big"), 0)
    assert cache.bytes <= 2_000
    assert cache.get((0).to_bytes(20, "big"), 0) is not None
    assert cache.get((50).to_bytes(20, "big"), 0) is None


def test_an_old_answer_is_forgotten() -> None:
    cache = AnswerCache(2_000)
    cache.put(b"k", b"v", 10)
    assert cache.get(b"k", 9) == b"v"
    assert cache.get(b"k", 10) is None
    assert cache.bytes == 0


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0), st.integers(1, 255))
def test_only_what_was_sealed_is_unsealed(key: bytes, scores: bytes, at: int, flip: int) -> None:
    kept = seal(key, scores)
    assert unseal(key, kept) == scores
    assert unseal(key + b"x", kept) is None
    assert unseal(key, None) is None
    changed = bytearray(kept)
    changed[at % len(kept)] ^= flip
    assert unseal(key, bytes(changed)) is None


def test_keys_tell_names_dtypes_and_rows_apart() -> None:
    import numpy as np

    floats = np.array([[1.0], [2.0]], np.float32)
    texts = np.array([["ab"], ["a"]], object)
    one = keys_of(b"p", {"x": floats, "t": texts}, 2)
    assert len(set(one)) == 2
    assert set(one).isdisjoint(keys_of(b"p", {"y": floats, "t": texts}, 2))
    assert set(one).isdisjoint(keys_of(b"p", {"x": floats.astype(np.float64), "t": texts}, 2))
    assert set(one).isdisjoint(keys_of(b"q", {"x": floats, "t": texts}, 2))
