"""The demo's flights: a December day replayed online is the historical join, bit for bit."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_store.adapters.engine_numpy import NumpyEngine
from feature_store.adapters.log_writer_parquet import LogWriter
from feature_store.adapters.online_redis import RedisStore
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.apply import apply_rows
from feature_store.domain.join import float_vector
from feature_store.join_as_of import join_as_of, labels_of
from feature_store.look_up import look_up
from feature_store.materialize import Materializer
from feature_store.online import OnlineReader
from feature_store.push import Pusher
from kit.clock import FakeClock
from kit.redis_pipeline import PipelinedRedis
from leadline.demo import flights
from shared_features import Catalogue, load_catalogue

FROM_US, DAY_US = flights.DECEMBER_US, flights.DAY_US
HISTORY_DAYS = 9
"""More than the longest window."""


def known(catalogue: Catalogue, name: str, from_us: int, until_us: int) -> pa.Table:
    """The rows of a source with ``from_us <= event_time < until_us``."""
    table: pa.Table = getattr(flights, name)()
    table = table.select([*catalogue.sources[name].columns, "event_time"])
    return flights.between(table, "event_time", from_us, until_us)


@pytest.mark.slow
async def test_a_replayed_day_is_the_historical_join(tmp_path: Path, redis_url: str) -> None:
    catalogue = load_catalogue(["leadline.demo.features"])
    service = catalogue.compile("delay_online")
    clock = FakeClock(FROM_US)
    pipeline = PipelinedRedis(redis_url, timeout_ms=5000)
    await pipeline.start()
    asks = flights.between(flights.asks(), "asked_at", FROM_US, FROM_US + DAY_US)
    asked_us = np.asarray(asks["asked_at"].cast(pa.int64()))
    served: dict[str, list[Any]] = {ref: [] for ref in service.refs}
    with LogWriter(tmp_path / "log", sync=False) as log, ThreadPoolExecutor(1) as disk:
        pusher = Pusher(catalogue, log, QuarantineFiles(tmp_path / "q"), clock, disk)
        store = RedisStore(pipeline)
        materializer = Materializer(catalogue, log.reader, store, apply_rows, clock, "ll")
        reader = OnlineReader(pipeline)
        plan = reader.plan(service)

        async def pass_time(from_us: int, until_us: int) -> None:
            for name in catalogue.sources:
                rows = known(catalogue, name, from_us, until_us)
                if len(rows):
                    await pusher.push_table(name, rows)
            await materializer.catch_up()

        await pass_time(FROM_US - HISTORY_DAYS * DAY_US, FROM_US)
        before = FROM_US
        for now in np.unique(asked_us).tolist():
            clock.step_us(now - clock.now_us())
            await pass_time(before, now + 1)
            before = now + 1
            answered = await look_up(
                reader, plan, asks.filter(pa.array(asked_us == now)).to_pylist(), clock
            )
            for ref, column in answered.columns.items():
                served[ref] += zip(column.values, column.status.tolist(), strict=True)
        joined = join_as_of(service, labels_of(asks, "asked_at"), log.reader, NumpyEngine())
    await pipeline.stop()
    for ref, kept in joined.columns.items():
        offline, status = float_vector(kept), kept.status.tolist()
        online = np.array([value for value, _ in served[ref]])
        assert np.array_equal(offline.view(np.int64)[~np.isnan(offline)],
                              online.view(np.int64)[~np.isnan(offline)]), ref  # fmt: skip
        assert np.array_equal(np.isnan(offline), np.isnan(online)), ref
        assert status == [one for _, one in served[ref]], ref
    assert len(asks) > 500
