"""The one promise: oracle = offline = online, by bits, on random histories, after every step."""

import asyncio
import math
import struct
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts.served import STATUSES
from feature_store.adapters.engine_duckdb import DuckdbEngine
from feature_store.adapters.engine_numpy import NumpyEngine
from feature_store.adapters.log_writer_parquet import LogWriter
from feature_store.adapters.online_memory import MemoryStore
from feature_store.adapters.online_redis import RedisStore
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.apply import apply_rows
from feature_store.domain import windows
from feature_store.join_as_of import join_as_of, labels_of
from feature_store.look_up import look_up
from feature_store.materialize import Materializer
from feature_store.online import OnlineReader, Pipeline
from feature_store.ports import HistoricalEngine, OnlineStore
from feature_store.push import Pusher
from kit.clock import FakeClock
from kit.redis_pipeline import PipelinedRedis
from shared_features import (
    Aggregate,
    CalendarWindow,
    Catalogue,
    CompiledService,
    Entity,
    FeatureView,
    Source,
    WindowView,
)
from tests.feature_store import oracle

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = (datetime(2025, 3, 30, 4, 59, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
ZONE = ZoneInfo("America/New_York")
WINDOW_US, MAX_AGE_US = 40_000_000, 25_000_000
THING = Entity("thing", {"a": "int64", "b": "string"})
COLUMNS = {"x": "int64", "y": "float64", "s": "string", "big": "int64", "f": "bool"}
FUNCTIONS = {
    "rows": Aggregate.count(),
    **{f"{name}_x": Aggregate(name, "x") for name in ("count", "sum", "avg", "min", "max", "last")},
    **{f"{name}_y": Aggregate(name, "y") for name in ("sum", "avg", "min", "max", "last")},
    **{f"{name}_big": Aggregate(name, "big") for name in ("sum", "avg")},
    "count_s": Aggregate.count("s"),
    "last_s": Aggregate.last("s"),
    "sum_f": Aggregate.sum("f"),
}  # fmt: skip


def catalogue(lag_us: int | None) -> Catalogue:
    lag = None if lag_us is None else timedelta(microseconds=lag_us)
    source = Source("facts", {**THING.keys, **COLUMNS}, lag)
    return Catalogue(
        [
            FeatureView("now", THING, COLUMNS, source),
            FeatureView("aged", THING, {"x": "int64"}, source, timedelta(microseconds=MAX_AGE_US)),
            WindowView("win", THING, source, timedelta(microseconds=WINDOW_US), FUNCTIONS),
            CalendarWindow("day", THING, source, "day", str(ZONE), FUNCTIONS),
        ]
    )


REFS = [
    *(f"now:{name}" for name in COLUMNS),
    "aged:x",
    *(f"{view}:{name}" for view in ("win", "day") for name in FUNCTIONS),
]
KEYS: list[oracle.Key] = [(1, "2"), (12, ""), (1, ""), (None, "2")]

finite = st.floats(allow_nan=False, width=64)
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 0.2, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan]),
    finite,
)
values = st.fixed_dictionaries(
    {
        "x": st.one_of(st.none(), st.integers(-5, 5)),
        "y": st.one_of(st.none(), numbers),
        "s": st.sampled_from([None, "", "é"]),
        "big": st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1)),
        "f": st.sampled_from([None, True, False]),
    }
)


@dataclass(frozen=True, slots=True)
class Push:
    """A row pushed ``after`` the step before it; times are offsets from the clock, microseconds."""

    after: int
    key: oracle.Key
    event: int
    created: int
    values: dict[str, Any]
    deleted: bool


seconds = st.integers(-60, 45).map(lambda s: s * 1_000_000)
pushes = st.builds(
    Push,
    after=st.sampled_from([0, 1, 999_999, 1_000_000, 7_000_000, 30_000_000]),
    key=st.sampled_from(KEYS[:3]),
    event=st.one_of(st.sampled_from([0, 0, -1, 1]), seconds),
    created=st.one_of(st.sampled_from([0, 0, 0]), seconds),
    values=values,
    deleted=st.sampled_from([False] * 7 + [True]),
)
histories = st.lists(pushes, min_size=1, max_size=8)


class World:
    """A store under test, and every row it was given."""

    def __init__(
        self, folder: Path, store: OnlineStore, pipeline: Pipeline, lag_us: int | None
    ) -> None:
        self.catalogue = catalogue(lag_us)
        self.clock = FakeClock(START)
        self.log = LogWriter(folder / "log", sync=False)
        self.disk = ThreadPoolExecutor(1)
        quarantine = QuarantineFiles(folder / "quarantine")
        self.pusher = Pusher(self.catalogue, self.log, quarantine, self.clock, self.disk)
        self.materializer = Materializer(
            self.catalogue, self.log.reader, store, apply_rows, self.clock, "ll"
        )
        self.reader = OnlineReader(pipeline)
        self.service: CompiledService = self.catalogue.compile_refs(REFS)
        self.plan = self.reader.plan(self.service)
        self.rows: list[oracle.Row] = []
        self.lag_us = lag_us

    def close(self) -> None:
        self.log.close()
        self.disk.shutdown()

    async def push(self, one: Push) -> None:
        self.clock.step_us(one.after)
        now = self.clock.now_us()
        row = {
            **dict(zip(THING.keys, one.key, strict=True)),
            **({} if one.deleted else one.values),
            "event_time": EPOCH + timedelta(microseconds=now + one.event),
            "created_time": EPOCH + timedelta(microseconds=now + one.created),
            "deleted": one.deleted,
        }
        pushed = await self.pusher.push_rows("facts", [row])
        assert pushed.accepted == 1, pushed.quarantined
        self.rows.append(
            oracle.Row(
                one.key, now + one.event, now + one.created, now, pushed.last_seq,
                dict.fromkeys(COLUMNS) if one.deleted else one.values, one.deleted, self.lag_us,
            )
        )  # fmt: skip

    def expected(self, key: oracle.Key, t: int, mode: str = "known") -> list[tuple[Any, str]]:
        local = datetime.fromtimestamp(t / 1e6, ZONE).date()
        midnight = datetime(local.year, local.month, local.day, tzinfo=ZONE)
        firsts = {
            "win": t - WINDOW_US + 1,
            "day": (midnight.astimezone(UTC) - EPOCH) // timedelta(microseconds=1),
        }
        found = [oracle.latest(self.rows, key, t, name, None, mode) for name in COLUMNS]
        found.append(oracle.latest(self.rows, key, t, "x", MAX_AGE_US, mode))
        for first in firsts.values():
            for aggregate in FUNCTIONS.values():
                function, column = aggregate.function, aggregate.column
                found.append(oracle.window(self.rows, key, t, first, function, column, mode))
        return found

    async def online(self) -> list[list[tuple[Any, str]]]:
        """Of every key, now."""
        rows = [dict(zip(THING.keys, key, strict=True)) for key in KEYS]
        answered = await look_up(self.reader, self.plan, rows, self.clock)
        return [[(row[r], row[f"{r}__status"]) for r in REFS] for row in answered.rows()]

    def offline(
        self, engine: HistoricalEngine, instants: Sequence[int], mode: str = "known"
    ) -> list[list[tuple[Any, str]]]:
        """Of every key at every instant, keys within instants."""
        count = len(instants)
        table = pa.table(
            {
                "a": pa.array([key[0] for key in KEYS] * count, pa.int64()),
                "b": pa.array([key[1] for key in KEYS] * count, pa.string()),
                "at": pa.array([t for t in instants for _ in KEYS]).cast(pa.timestamp("us", "UTC")),
            }
        )
        joined = join_as_of(
            self.service,
            labels_of(table, "at"),
            self.log.reader,
            engine,
            mode="event" if mode == "event" else "known",
        )
        columns = [joined.columns[ref] for ref in REFS]
        answers = [
            [(v, STATUSES[s]) for v, s in zip(c.values.to_pylist(), c.status.tolist(), strict=True)]
            for c in columns
        ]
        return [list(row) for row in zip(*answers, strict=True)]


def bits(value: Any) -> Any:
    """A value by its bits; every NaN is one."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    return value


def same(expected: Sequence[tuple[Any, str]], got: Sequence[tuple[Any, str]]) -> None:
    wrong = [
        (ref, want, have)
        for ref, want, have in zip(REFS, expected, got, strict=True)
        if want[1] != have[1] or bits(_typed(ref, want[0])) != bits(have[0])
    ]
    assert not wrong, wrong[:5]


def _typed(ref: str, value: Any) -> Any:
    return float(value) if value is not None and ref.endswith(":sum_y") else value


ENGINES: tuple[HistoricalEngine, ...] = (NumpyEngine(), DuckdbEngine())


async def _holds(
    world: World, history: Sequence[Push], engines: Sequence[HistoricalEngine] = ENGINES[:1]
) -> None:
    asked: list[int] = []
    promised: list[list[tuple[Any, str]]] = []
    await world.materializer.catch_up()
    for one in history:
        await world.push(one)
        await world.materializer.catch_up()
        for wait in (0, 1, 11_000_000):
            world.clock.step_us(wait)
            now = world.clock.now_us()
            expected = [world.expected(key, now) for key in KEYS]
            for want, got in zip(expected, await world.online(), strict=True):
                same(want, got)
            asked.append(now)
            promised += expected
            world.clock.step_us(1)  # what comes next is ingested later than what was asked
    if world.lag_us is None:  # a declared lag says by itself when a row was known
        for want, got in zip(promised, world.offline(NumpyEngine(), asked), strict=True):
            same(want, got)
    for mode in ("known", "event"):
        expected = [world.expected(key, t, mode) for t in asked for key in KEYS]
        for engine in engines:
            for want, got in zip(expected, world.offline(engine, asked, mode), strict=True):
                same(want, got)


def _play(
    history: Sequence[Push],
    lag_us: int | None,
    engines: Sequence[HistoricalEngine] = ENGINES[:1],
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = MemoryStore()
            world = World(Path(folder), store, store, lag_us)
            try:
                await _holds(world, history, engines)
            finally:
                world.close()

    asyncio.run(run())


quick = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)


@quick
@given(histories)
def test_training_and_serving_agree_with_brute_force(history: list[Push]) -> None:
    _play(history, None)


@quick
@given(histories)
def test_they_agree_for_a_source_that_declares_its_lag(history: list[Push]) -> None:
    _play(history, 3_000_000)


@pytest.mark.slow
@settings(quick, max_examples=150)
@given(st.lists(pushes, min_size=1, max_size=25), st.sampled_from([None, 0, 3_000_000]))
def test_they_agree_on_many_long_histories(history: list[Push], lag_us: int | None) -> None:
    _play(history, lag_us)


@settings(quick, max_examples=2)
@given(histories)
def test_engines_agree(history: list[Push]) -> None:
    _play(history, 1_000_000, ENGINES)


@settings(quick, max_examples=4)
@given(st.lists(pushes, min_size=6, max_size=10), st.sampled_from([0, 2]))
def test_they_agree_when_windows_are_tiled(history: list[Push], inline_max: int) -> None:
    patched, windows.INLINE_ROWS_MAX = windows.INLINE_ROWS_MAX, inline_max
    try:
        _play(history, None)
    finally:
        windows.INLINE_ROWS_MAX = patched


@pytest.mark.parametrize("seed", range(2))
async def test_they_agree_in_redis(redis_url: str, tmp_path: Path, seed: int) -> None:
    import random

    chance = random.Random(seed)
    pipeline = PipelinedRedis(redis_url, timeout_ms=5000)
    await pipeline.start()
    world = World(tmp_path, RedisStore(pipeline), pipeline, None)
    try:
        await _holds(world, [_random_push(chance) for _ in range(12)])
    finally:
        world.close()
        await pipeline.stop()


def _random_push(chance: Any) -> Push:
    return Push(
        after=chance.choice([0, 1, 500_000, 5_000_000]),
        key=chance.choice(KEYS[:3]),
        event=chance.choice([0, 0, -5_000_000, 20_000_000, -39_999_999]),
        created=chance.choice([0, 0, 12_000_000, -5_000_000]),
        values={
            "x": chance.choice([None, 3, -4]),
            "y": chance.choice([None, 0.1, -0.0, 1e16, math.nan, 1e308, math.inf]),
            "s": chance.choice([None, "", "z"]),
            "big": chance.choice([None, (1 << 63) - 1, -7]),
            "f": chance.choice([None, True]),
        },
        deleted=chance.random() < 0.1,
    )
