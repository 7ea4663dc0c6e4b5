"""How many served rows a second one core of the monitor takes in, and what memory that needs.

50 features, 3 versions, a real stream, a real disk: read, decode, de-duplicate, count at the
baselines' edges, write Parquet, commit, acknowledge. Everything runs in one thread, so a second
of it is a second of one core.
"""

import asyncio
import gc
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis

from bench.record import record
from contracts.manifest import FileEntry, Manifest, Tensors
from contracts.served import STREAM, ServedBatch, encode_served
from kit.clock import SystemClock
from kit.redis import connect
from kit.serve import YOUNG_OBJECTS_MAX
from leadline.local.embedded_redis import find_server
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.domain.baseline import build_profile
from monitor.observe import Observe

FEATURES, VERSIONS = 50, 3
ROWS_A_RECORD = (1, 8, 32, 128)
HOUR_US = 3_600_000_000


class Registry:
    """Serves one baseline for every version, as the registry would."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        columns = {f"f{i}": random.normal(size=20_000) for i in range(FEATURES)}
        profile = build_profile("speed", "classification", columns, predictions=columns["f0"])
        self._baseline = profile.model_dump_json().encode()
        entry = FileEntry(
            path="baseline.json",
            sha256=sha256(self._baseline).hexdigest(),
            size_bytes=len(self._baseline),
        )
        self._manifest = Manifest(
            model="speed", task="classification", tensors=Tensors(layout="matrix"), files=(entry,)
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/manifest"):
            return httpx.Response(200, content=self._manifest.model_dump_json())
        return httpx.Response(200, content=self._baseline)


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ll") as folder:
        socket = f"{folder}/redis.sock"
        arguments = [str(find_server()), "--port", "0", "--unixsocket", socket, "--dir", folder]
        process = subprocess.Popen([*arguments, "--save", ""], stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(f"unix://{socket}")
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.01)
        try:
            yield f"unix://{socket}"
        finally:
            client.close()
            process.terminate()
            process.wait()


def _records(rows: int, total: int, now_us: int) -> Iterator[bytes]:
    """Encoded records of ``rows`` rows each, ``total`` rows in all, versions in turn."""
    random = np.random.default_rng(2)
    numbers = {f"f{i}": random.normal(size=rows) for i in range(FEATURES)}
    statuses = {name: np.zeros(rows, np.uint8) for name in numbers}
    score = random.beta(2, 6, rows)
    for i in range(total // rows):
        yield encode_served(
            ServedBatch(
                model="speed", version=str(i % VERSIONS + 1), variant="production", epoch=1,
                rollout_id=None, step=0, arm="",
                units=tuple(f"user-{(i * rows + k) % 9_973}" for k in range(rows)),
                event_us=np.full(rows, now_us, np.int64),
                request_id=np.frombuffer(random.bytes(16 * rows), "V16"),
                row=np.zeros(rows, np.uint16), latency_us=np.full(rows, 900, np.uint32),
                outcome=np.zeros(rows, np.uint8), flags=np.zeros(rows, np.uint8),
                predicted=(score > 0.5).astype(np.int32), score=score,
                confidence=np.maximum(score, 1 - score),
                propensity=np.ones(rows, np.float32), numbers=numbers, statuses=statuses,
            )
        )  # fmt: skip


async def _inline(work: Callable[[], Any]) -> Any:
    return work()


def _fill(url: str, rows: int, total: int, now_us: int) -> int:
    client = redis.Redis.from_url(url)
    client.flushall()
    pipe, sent = client.pipeline(transaction=False), 0
    for number, data in enumerate(_records(rows, total, now_us), start=1):
        pipe.xadd(STREAM, {"p": f"p{rows}", "s": number, "d": data})
        sent += rows
        if number % 200 == 0:
            pipe.execute()
    pipe.execute()
    client.close()
    return sent


async def _measure(url: str, registry: Registry, rows: int, total: int) -> dict[str, Any]:
    clock = SystemClock()
    sent = _fill(url, rows, total, clock.now_us())
    with tempfile.TemporaryDirectory(prefix="ll") as folder:
        database = Database(Path(folder, "monitor.sqlite"))
        database.open()
        connection = connect(url, purpose="bench", timeout_ms=10_000)
        client = httpx.AsyncClient(
            transport=httpx.MockTransport(registry), base_url="http://registry"
        )
        stream = RedisStream(
            connection,
            (STREAM,),
            "bench",
            clock,
            entries_max=2_000,
            block_ms=1,
            idle_claim_s=60,
            fill_bytes=8 << 20,
        )
        observe = Observe(
            stream, SqliteLedger(database, 1_000_000), ParquetParts(Path(folder, "events")),
            RegistryBaselines(client, Path(folder, "baselines"), clock, (), 8),
            _inline, clock, future_tolerance_us=HOUR_US, deliveries_max=5,
        )  # fmt: skip
        wall, cpu = time.perf_counter(), time.process_time()
        while await observe.step():
            pass
        while await observe.step():
            pass
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stored = database.reader.execute("SELECT coalesce(sum(rows), 0) FROM blocks").fetchone()[0]
        assert stored == sent, f"{stored} of {sent} rows arrived"
        disk = _bytes_below(Path(folder))
        database.close()
        await connection.aclose()
        await client.aclose()
    return {
        "rows a record": rows,
        "rows": sent,
        "rows/s per core": round(sent / cpu),
        "rows/s": round(sent / wall),
        "bytes a row on disk": round(disk / sent),
        "peak memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(*, quick: bool) -> None:
    """Measure each record size, with the garbage collector set as the services set it."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, 20, 20)
    registry = Registry()
    totals = {rows: 4_000 if rows == 1 else 32_000 for rows in ROWS_A_RECORD}
    if not quick:
        totals = {rows: 40_000 if rows == 1 else 400_000 for rows in ROWS_A_RECORD}
    with _server() as url:
        found = [
            asyncio.run(_measure(url, registry, rows, total)) for rows, total in totals.items()
        ]
    record(
        "monitor_ingest",
        quick=quick,
        figures={
            f"rows_per_s_core_{row['rows a record']}": row["rows/s per core"] for row in found
        },
        tables={f"{FEATURES} features, {VERSIONS} versions": found},
        notes=[
            "From the stream to the acknowledgement, durable (Parquet and SQLite are synced).",
            (
                "A record is what one version answered in one batch; coalescing makes it 8 to 128 "
                "rows under load. Target: 20,000 rows/s per core."
            ),
        ],
    )
