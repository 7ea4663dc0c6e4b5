"""A small world for the monitor's tests: a registry with one model, and a producer of rows."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import redis

from contracts.manifest import FileEntry, InputColumn, Manifest, Tensors
from contracts.served import STREAM, ServedBatch, encode_served
from kit.clock import FakeClock
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.domain.baseline import Validation, build_profile

T = TypeVar("T")
NOW_US = 1_385_942_400_000_000  # 2013-12-02T00:00Z, a Monday
HOUR_US = 3_600_000_000
MODEL, VERSION = "delay", "2"


async def inline(work: Any) -> Any:
    """Port ``Offload`` without a thread."""
    return work()


def training(seed: int = 1, rows: int = 5_000) -> dict[str, Any]:
    """Columns of a training sample."""
    random = np.random.default_rng(seed)
    return {
        "distance": random.normal(1_000, 200, rows),
        "late_7d": random.beta(2, 8, rows),
        "origin": random.choice(["EWR", "JFK", "LGA"], rows, p=[0.4, 0.35, 0.25]).tolist(),
    }


def baseline_bytes(model: str = MODEL) -> bytes:
    """``baseline.json`` of the model."""
    random = np.random.default_rng(2)
    scores = random.beta(2, 6, 2_000)
    labels = (random.random(2_000) < scores).astype(float)
    profile = build_profile(
        model, "classification", training(), validation=Validation(scores, labels)
    )
    return profile.model_dump_json().encode()


def manifest(baseline: bytes | None, model: str = MODEL) -> Manifest:
    """A manifest whose files hold the baseline."""
    files: tuple[FileEntry, ...] = ()
    if baseline is not None:
        digest = sha256(baseline).hexdigest()
        files = (FileEntry(path="baseline.json", sha256=digest, size_bytes=len(baseline)),)
    return Manifest(
        model=model,
        task="classification",
        inputs=(
            InputColumn(name="distance", dtype="float64", source="request:distance"),
            InputColumn(name="late_7d", dtype="float64", source="route:late_7d"),
            InputColumn(name="origin", dtype="string", source="request:origin"),
        ),
        tensors=Tensors(layout="columns", probability="p"),
        files=files,
    )


class FakeRegistry:
    """Answers as the registry does; ``away`` refuses connections."""

    def __init__(self, baseline: bytes | None = None, *, with_baseline: bool = True) -> None:
        self.baseline = baseline or baseline_bytes()
        self.manifest = manifest(self.baseline if with_baseline else None)
        self.away = False
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.away:
            raise httpx.ConnectError("away")
        path = request.url.path
        if path == f"/v1/models/{MODEL}/versions/{VERSION}/manifest":
            return httpx.Response(200, content=self.manifest.model_dump_json())
        if path == f"/v1/artifacts/{sha256(self.baseline).hexdigest()}":
            return httpx.Response(200, content=self.baseline)
        return httpx.Response(404)

    def client(self) -> httpx.AsyncClient:
        """A client that speaks to this registry."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://registry")


def baselines_of(registry: FakeRegistry, folder: Path, clock: FakeClock) -> RegistryBaselines:
    """The real adapter over the fake registry."""
    return RegistryBaselines(registry.client(), folder, clock, (), 8)


class Producer:
    """Writes served records to the stream as inference does."""

    def __init__(self, url: str, name: str = "p1", seed: int = 3) -> None:
        self.redis: Any = redis.Redis.from_url(url)  # its stubs mix the protocol versions
        self.name = name
        self.number = 0
        self.random = np.random.default_rng(seed)
        self.request_ids: list[bytes] = []

    def batch(self, rows: int, at_us: int = NOW_US, **changed: Any) -> ServedBatch:
        """Rows like the training's; one request each."""
        random = self.random
        score = random.beta(2, 6, rows)
        ids = [random.bytes(16) for _ in range(rows)]
        self.request_ids += ids
        batch = ServedBatch(
            model=MODEL,
            version=VERSION,
            variant="production",
            epoch=1,
            rollout_id=None,
            step=0,
            arm="",
            units=tuple(f"unit-{random.integers(50)}" for _ in range(rows)),
            event_us=np.full(rows, at_us, np.int64) + np.arange(rows),
            request_id=np.frombuffer(b"".join(ids), "V16"),
            row=np.zeros(rows, np.uint16),
            latency_us=random.integers(300, 3_000, rows).astype(np.uint32),
            outcome=np.zeros(rows, np.uint8),
            flags=np.zeros(rows, np.uint8),
            predicted=(score >= 0.5).astype(np.int32),
            score=score,
            confidence=np.maximum(score, 1 - score),
            propensity=np.ones(rows, np.float32),
            numbers={
                "distance": random.normal(1_000, 200, rows),
                "late_7d": random.beta(2, 8, rows),
            },
            strings={
                "origin": tuple(
                    random.choice(["EWR", "JFK", "LGA"], rows, p=[0.4, 0.35, 0.25]).tolist()
                )
            },
            statuses={name: np.zeros(rows, np.uint8) for name in ("distance", "late_7d", "origin")},
        )
        return replace(batch, **changed)

    def send(self, batch: ServedBatch, number: int | None = None) -> bytes:
        """One entry; the next number unless one is given. Returns the entry's id."""
        if number is None:
            self.number += 1
            number = self.number
        return self.send_raw(encode_served(batch), number)

    def send_raw(self, data: bytes, number: int | str) -> bytes:
        """Whatever bytes."""
        entry_id: bytes = self.redis.xadd(STREAM, {"p": self.name, "s": number, "d": data})
        return entry_id

    def send_rows(self, sizes: Sequence[int], at_us: int = NOW_US) -> None:
        """Several records."""
        for rows in sizes:
            self.send(self.batch(rows, at_us))
