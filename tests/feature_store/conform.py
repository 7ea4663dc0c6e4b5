"""Plays cases of rules against the real offline and online paths.

    python -m tests.feature_store.conform FILE.json [--store memory|redis] [--engine numpy|duckdb]

A file is a JSON list of cases. ``pit`` (times in seconds) and ``pit_iso`` (ISO 8601): ``rows`` are
``[key, event, created, value]``, a list as key for a composite one, ``{"tomb": true}`` for a
deletion; ``ask`` are ``[key, t]``; ``want`` are ``[value, status]``; ``mode`` known or event;
``ttl`` 0 is unlimited. ``win``: ``fn`` over (t − ``window``, t]; ``want`` are values, or pairs.
``ops``: puts and gets in order; every get is also asked offline at the same instant.

Values, and each part of the keys, make one column of one dtype, taken from what occurs; where kinds
are mixed the column holds their JSON texts, which keeps them apart. Event mode is answered offline
only: it is corrected history, which serving never sees.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.served import STATUSES
from feature_store.adapters.log_writer_parquet import LogWriter
from feature_store.adapters.online_memory import MemoryStore
from feature_store.adapters.online_redis import RedisStore
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.apply import apply_rows
from feature_store.domain.schema import ARROW_TYPES
from feature_store.facade import engine_named
from feature_store.join_as_of import join_as_of, labels_of
from feature_store.look_up import look_up
from feature_store.materialize import Materializer
from feature_store.online import OnlineReader, Pipeline
from feature_store.ports import OnlineStore
from feature_store.push import Pusher
from kit.clock import FakeClock
from kit.redis_pipeline import PipelinedRedis
from leadline.local.embedded_redis import find_server
from shared_features import Catalogue, View
from tests.feature_store.conform_cases import (
    Case,
    as_datetime,
    definitions,
    instant_us,
    is_tomb,
    kinds_of,
)

Answer = tuple[Any, str | None]


@dataclass(slots=True)
class Stage:
    """One case set up: definitions of its own, a log, an online store, a clock."""

    catalogue: Catalogue
    view: View
    keys: tuple[str, ...]
    clock: FakeClock
    log: LogWriter
    pusher: Pusher
    materializer: Materializer
    reader: OnlineReader
    engine: str
    mixed: bool
    mixed_keys: frozenset[str]

    @property
    def ref(self) -> str:
        """The one feature of the case."""
        return f"{self.view.name}:value"

    async def put(self, key: Any, event_us: int, created_us: int, value: Any) -> None:
        """Push a row and apply it."""
        row = {
            **self.key_row(key),
            "event_time": as_datetime(event_us),
            "created_time": as_datetime(created_us),
        }
        if is_tomb(value):
            row["deleted"] = True
        else:
            row["value"] = json.dumps(value) if self.mixed and value is not None else value
        pushed = await self.pusher.push_rows(self.view.source.name, [row])
        bad = [one for one in pushed.quarantined if "null" not in one.reason]
        if bad:
            raise ValueError(f"the row was refused: {bad[0].reason}")
        await self.materializer.catch_up()

    def key_row(self, key: Any) -> dict[str, Any]:
        """The key fields of a row."""
        parts = key if isinstance(key, list) else [key]
        parts = [*parts, *[None] * (len(self.keys) - len(parts))]
        return {
            name: json.dumps(part) if name in self.mixed_keys and part is not None else part
            for name, part in zip(self.keys, parts, strict=True)
        }

    def plain(self, value: Any) -> Any:
        """A value as the case wrote it."""
        return json.loads(value) if self.mixed and value is not None else value

    async def online(self, key: Any, t_us: int) -> Answer:
        """What serving answers at ``t_us``."""
        self.clock.step_us(t_us - self.clock.now_us())
        plan = self.reader.plan(self.catalogue.compile_refs([self.ref]))
        found = await look_up(self.reader, plan, [self.key_row(key)], self.clock)
        row = found.rows()[0]
        return self.plain(row[self.ref]), row[f"{self.ref}__status"]

    def offline(self, asks: Sequence[tuple[Any, int]], mode: str) -> list[Answer]:
        """What the historical join answers, for all asks at once."""
        keys = [self.key_row(key) for key, _ in asks]
        columns: dict[str, Any] = {
            name: pa.array([row[name] for row in keys], ARROW_TYPES[dtype])
            for name, dtype in self.view.entity.keys.items()
        }
        columns["at"] = pa.array([as_datetime(t) for _, t in asks], pa.timestamp("us", "UTC"))
        joined = join_as_of(
            self.catalogue.compile_refs([self.ref]),
            labels_of(pa.table(columns), "at"),
            self.log.reader,
            engine_named(self.engine),
            mode="event" if mode == "event" else "known",
        ).columns[self.ref]
        statuses = [STATUSES[code] for code in joined.status.tolist()]
        values = map(self.plain, joined.values.to_pylist())
        return list(zip(values, statuses, strict=True))


@asynccontextmanager
async def staged(
    case: Case, store: OnlineStore, pipeline: Pipeline, engine: str
) -> AsyncIterator[Stage]:
    """A case on an empty log and an emptied store."""
    kinds = kinds_of(case)
    view = definitions(case, kinds)
    catalogue = Catalogue([view])
    await store.wipe()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as disk:
        clock = FakeClock(-(1 << 50))
        with LogWriter(Path(folder, "log"), sync=False) as log:
            quarantine = QuarantineFiles(Path(folder, "quarantine"))
            yield Stage(
                catalogue,
                view,
                tuple(view.entity.keys),
                clock,
                log,
                Pusher(catalogue, log, quarantine, clock, disk),
                Materializer(catalogue, log.reader, store, apply_rows, clock, "ll"),
                OnlineReader(pipeline),
                engine,
                kinds.mixed,
                kinds.mixed_keys,
            )


async def play(
    case: Case, store: OnlineStore, pipeline: Pipeline, engine: str
) -> list[tuple[str, Any, Answer, Answer]]:
    """The mismatches of a case: (path, what was asked, wanted, got)."""
    async with staged(case, store, pipeline, engine) as stage:
        if case["kind"] == "ops":
            return await _play_ops(case, stage)
        return await _play_rows(case, stage)


async def _play_ops(case: Case, stage: Stage) -> list[tuple[str, Any, Answer, Answer]]:
    wrong: list[tuple[str, Any, Answer, Answer]] = []
    ops = case["ops"]
    await stage.materializer.catch_up()
    for place, op in enumerate(ops):
        if op[0] == "put":
            _, key, event, created, value = op
            # the applier's clock stands where the next question will find it, or earlier
            later = [instant_us(o[2]) for o in ops[place:] if o[0] == "get"]
            stage.clock.step_us(min(later, default=0) - stage.clock.now_us())
            await stage.put(key, instant_us(event), instant_us(created), value)
            continue
        assert op[0] == "get", op[0]
        _, key, t, want = op
        asked = [(key, instant_us(t))]
        answers = {
            "online": await stage.online(key, instant_us(t)),
            "offline": stage.offline(asked, case.get("mode", "known"))[0],
        }
        wanted = _wanted(want)
        wrong += [(p, [key, t], wanted, got) for p, got in answers.items() if differs(wanted, got)]
    return wrong


async def _play_rows(case: Case, stage: Stage) -> list[tuple[str, Any, Answer, Answer]]:
    mode = case.get("mode", "known")
    asks = [(key, instant_us(t)) for key, t in case["ask"]]
    wanted = [_wanted(want) for want in case["want"]]
    rows = [(k, instant_us(e), instant_us(c), value) for k, e, c, value in case["rows"]]
    answers: dict[str, list[Answer]] = {}
    if mode == "known":
        answers["online"] = await _as_time_passes(stage, rows, asks)
    else:
        for row in rows:
            await stage.put(*row)
    answers["offline"] = stage.offline(asks, mode)
    return [
        (path, case["ask"][i], wanted[i], got[i])
        for path, got in answers.items()
        for i in range(len(asks))
        if differs(wanted[i], got[i])
    ]


async def _as_time_passes(
    stage: Stage, rows: Sequence[tuple[Any, int, int, Any]], asks: Sequence[tuple[Any, int]]
) -> list[Answer]:
    """Push every row when it becomes known, ask every question at its instant."""
    await stage.materializer.catch_up()
    arriving = sorted(rows, key=lambda row: max(row[1], row[2]))  # stable: ties keep their order
    answers: dict[int, Answer] = {}
    pushed = 0
    for place in sorted(range(len(asks)), key=lambda i: asks[i][1]):
        key, t = asks[place]
        while pushed < len(arriving) and max(arriving[pushed][1:3]) <= t:
            known = max(arriving[pushed][1:3])
            stage.clock.step_us(max(0, known - stage.clock.now_us()))
            await stage.put(*arriving[pushed])
            pushed += 1
        answers[place] = await stage.online(key, t)
    for row in arriving[pushed:]:
        await stage.put(*row)
    return [answers[place] for place in range(len(asks))]


def _wanted(want: Any) -> Answer:
    if isinstance(want, list) and len(want) == 2 and (want[1] in STATUSES or want[1] is None):
        return want[0], want[1]
    return want, None


def differs(wanted: Answer, got: Answer) -> bool:
    """Whether value or status differ; a case without a status wants only the value."""
    if wanted[1] is not None and wanted[1] != got[1]:
        return True
    return not _equal(wanted[0], got[0])


def _equal(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(map(_equal, wanted, got))
    if wanted is None or got is None or isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got or (isinstance(wanted, bool) and wanted == got)
    if isinstance(wanted, float) and isinstance(got, float) and math.isnan(wanted):
        return math.isnan(got)
    return bool(wanted == got)


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[tuple[OnlineStore, Pipeline]]:
    """The online store of that name; Redis is a real server of its own."""
    if name == "memory":
        memory = MemoryStore()
        yield memory, memory
        return
    with tempfile.TemporaryDirectory(prefix="ll") as folder:
        server = await asyncio.create_subprocess_exec(
            str(find_server()), "--port", "0", "--unixsocket", f"{folder}/s", "--save", "",
            "--dir", folder, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        pipeline = PipelinedRedis(f"unix://{folder}/s", timeout_ms=5000)
        try:
            async with asyncio.timeout(10):
                await pipeline.start()
                while not pipeline.connected:
                    await asyncio.sleep(0.02)
            yield RedisStore(pipeline), pipeline
        finally:
            await pipeline.stop()
            server.terminate()
            await server.wait()


async def run(cases: Sequence[Case], store_name: str, engine: str) -> int:
    """Play all cases, print the mismatches, return their number."""
    mismatches = 0
    async with opened(store_name) as (store, pipeline):
        for number, case in enumerate(cases):
            name = case.get("id", number)
            try:
                wrong = await play(case, store, pipeline, engine)
            except (ValueError, AssertionError, KeyError, TypeError, LookupError) as error:
                print(f"{name}: cannot be played: {type(error).__name__}: {error}")
                mismatches += 1
                continue
            for path, asked, wanted, got in wrong:
                print(f"{name}: {path} {asked}: wanted {wanted}, got {got}")
            mismatches += len(wrong)
    print(f"{len(cases)} cases, {mismatches} mismatches")
    return mismatches


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, play, exit 1 on any mismatch."""
    parser = argparse.ArgumentParser(description="Play rule cases against the feature store.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--store", choices=("memory", "redis"), default="memory")
    parser.add_argument("--engine", choices=("numpy", "duckdb"), default="numpy")
    given = parser.parse_args(arguments)
    cases = json.loads(given.file.read_text())
    sys.exit(1 if asyncio.run(run(cases, given.store, given.engine)) else 0)


if __name__ == "__main__":
    main()
