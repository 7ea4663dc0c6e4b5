"""What is loaded follows the routing table; serving never waits for it, and never fails by it."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from contracts.golden import GoldenSet, GoldenTensor
from contracts.manifest import FileEntry, Manifest
from contracts.routing import Arm, ModelRoute, ReplicaReport, RoutingTable
from inference.adapters.artifacts_disk import DiskArtifacts
from inference.adapters.session_onnxruntime import ModelRefused
from inference.adapters.trials_disk import DiskTrials
from inference.domain.fleet import LoadedVersion
from inference.follow import Follow
from inference.load import Load
from inference.ports import Builder, RegistryAway
from kit.clock import SystemClock
from tests.inference.parts import House, body, defaults, logistic_model, manifest_for
from tests.polling import until


@dataclass
class FakeRegistry:
    """Versions by number; may be away, may hand out rotten bytes."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    kept: RoutingTable | None = None
    reports: list[ReplicaReport] = field(default_factory=list)
    away: bool = False
    disk_full: bool = False
    downloads: int = 0

    def publish(self, version: str, content: bytes, **changes: Any) -> None:
        manifest = manifest_for(content, **changes)
        self.manifests[version] = manifest
        self.files[manifest.files[0].sha256] = content

    async def table(self, known: str | None, wait_s: float) -> RoutingTable | None:
        raise RegistryAway("this fake is not polled")

    async def manifest(self, model: str, version: str, *, kept: bool = False) -> Manifest:
        if self.away or version not in self.manifests:
            raise RegistryAway("away")
        return self.manifests[version]

    async def download(self, sha256: str) -> AsyncIterator[bytes]:
        self.downloads += 1
        if self.away:
            raise RegistryAway("away")
        yield self.files[sha256]

    async def report(self, report: ReplicaReport) -> None:
        self.reports.append(report)

    def last_table(self) -> RoutingTable | None:
        return self.kept

    async def keep_table(self, table: RoutingTable) -> None:
        if self.disk_full:
            raise OSError(ENOSPC, "No space left on device")
        self.kept = table


@dataclass
class Loading:
    """The verb around a fake registry, real files, real models."""

    registry: FakeRegistry
    house: House
    follow: Follow
    load: Load

    async def route(self, epoch: int, *arms: tuple[str, float], **route: Any) -> None:
        made = tuple(
            Arm(version=version, variant="canary" if index else "production", weight=weight)
            for index, (version, weight) in enumerate(arms)
        )
        self.follow.offer(
            RoutingTable(epoch=epoch, models={"risk": ModelRoute(arms=made, **route)})
        )
        await self.load.apply()
        self.house.fleet = self.load.fleet

    def states(self) -> dict[str, str]:
        return {one.version: one.state for one in self.load.report().versions}

    def reasons(self) -> dict[str, str]:
        return {one.version: one.reason for one in self.load.report().versions}


@pytest.fixture
async def loading(tmp_path: Path) -> AsyncIterator[Loading]:
    registry, house = FakeRegistry(), House()
    house.reader.values = {"a": [1.0] * 10}
    with ThreadPoolExecutor(1) as executor:
        yield loading_of(registry, house, executor, tmp_path)
    await house.close()


def loading_of(
    registry: FakeRegistry,
    house: House,
    executor: ThreadPoolExecutor,
    folder: Path,
    *,
    builder: Builder | None = None,
    retry_s: float = 5.0,
) -> Loading:
    """The verb, and whom it asks which table counts."""
    follow = Follow(registry, SystemClock(), 1.0)
    load = Load(
        replica="r",
        push_url=None,
        follow=follow,
        registry=registry,
        artifacts=DiskArtifacts(folder, registry.download, 1 << 20),
        builder=builder or house.builder,
        trials=DiskTrials(folder / "trials", "r", SystemClock()),
        executor=executor,
        report_every_s=1.0,
        retry_s=retry_s,
    )
    return Loading(registry, house, follow, load)


@dataclass
class Refusing:
    """Builds nothing; remembers when it was asked to."""

    asked_s: list[float] = field(default_factory=list)

    def build(self, manifest: Manifest, version: str, files: Any) -> LoadedVersion:
        self.asked_s.append(time.monotonic())
        raise ModelRefused("no")


async def test_what_cannot_be_loaded_is_tried_less_and_less_often(tmp_path: Path) -> None:
    registry, house, builder = FakeRegistry(), House(), Refusing()
    registry.publish("1", logistic_model([0.1] * 10))
    route = ModelRoute(arms=(Arm(version="1", variant="production", weight=1.0),))
    with ThreadPoolExecutor(1) as executor:
        loading = loading_of(registry, house, executor, tmp_path, builder=builder, retry_s=0.02)
        loading.follow.offer(RoutingTable(epoch=1, models={"risk": route}))
        trying = asyncio.ensure_future(loading.load.reconcile())
        await until(lambda: len(builder.asked_s) == 5)
        trying.cancel()
    await house.close()
    gaps_s = np.diff(builder.asked_s) + 0.001  # an event loop's timers count in milliseconds
    assert (gaps_s >= [0.02, 0.04, 0.08, 0.16]).all()


@dataclass
class Tripping:
    """Trips over version 1, and builds any other."""

    builder: Builder
    trip: Exception

    def build(self, manifest: Manifest, version: str, files: Any) -> LoadedVersion:
        if version == "1":
            raise self.trip
        return self.builder.build(manifest, version, files)


@pytest.mark.parametrize("trip", [StopIteration(), TypeError("no number"), MemoryError()])
async def test_a_version_that_trips_the_builder_keeps_no_other_from_being_loaded(
    tmp_path: Path, trip: Exception
) -> None:
    registry, house = FakeRegistry(), House()
    for version in ("1", "2"):
        registry.publish(version, logistic_model([0.1] * 10))
    with ThreadPoolExecutor(1) as executor:
        builder = Tripping(house.builder, trip)
        loading = loading_of(registry, house, executor, tmp_path, builder=builder)
        async with asyncio.timeout(10):  # StopIteration never comes out of a future
            await loading.route(1, ("1", 0.5), ("2", 0.5))
    await house.close()
    assert loading.states() == {"1": "failed", "2": "ready"}
    assert type(trip).__name__ in loading.reasons()["1"]


async def test_a_version_that_ended_the_process_keeps_no_other_from_being_loaded(
    loading: Loading, tmp_path: Path
) -> None:
    for version in (1, 2):
        loading.registry.publish(str(version), logistic_model([version / 100] * 10))
    deadly = loading.registry.manifests["1"].files[0].sha256
    (tmp_path / "trials").mkdir()
    note = tmp_path / "trials" / f"{deadly}.r"
    note.write_text(f"{SystemClock().wall_us()}\n" * 3)  # what three processes left that ended
    await loading.route(1, ("1", 0.5), ("2", 0.5))
    assert loading.states() == {"1": "failed", "2": "ready"}
    assert "ended 3 times" in loading.reasons()["1"]
    note.write_text("0\n" * 3)  # long ago
    await loading.load.apply()
    assert loading.states() == {"1": "ready", "2": "ready"}
    assert not note.exists()


async def test_twenty_reloads_under_load_fail_no_request(loading: Loading) -> None:
    for version in range(1, 22):
        loading.registry.publish(str(version), logistic_model([version / 100] * 10))
    await loading.route(1, ("1", 1.0))
    answers, stopped = [], False

    async def ask_on() -> None:
        while not stopped:
            loading.house.fleet = loading.load.fleet
            answers.extend(await loading.house.ask(body("a"), body("a")))
            await asyncio.sleep(0)

    asking = [asyncio.ensure_future(ask_on()) for _ in range(4)]
    for version in range(2, 22):
        loading.follow.offer(
            RoutingTable(
                epoch=version,
                models={
                    "risk": ModelRoute(
                        arms=(Arm(version=str(version), variant="production", weight=1.0),)
                    )
                },
            )
        )
        await loading.load.apply()
    stopped = True
    await asyncio.gather(*asking)
    assert {answer.status for answer in answers} == {200}
    told = [orjson.loads(answer.body) for answer in answers]
    for one in told:  # each is the answer of the version that it names
        expected = 1 / (1 + np.exp(-int(one["version"]) / 10))
        assert one["predictions"][0]["probability"] == pytest.approx(expected, abs=1e-6)
    assert len({one["version"] for one in told}) > 5
    assert loading.states() == {"21": "ready"}


async def test_a_version_that_cannot_be_loaded_keeps_the_old_route(loading: Loading) -> None:
    loading.registry.publish("1", logistic_model([0.1] * 10))
    loading.registry.publish("2", b"not a model")
    await loading.route(1, ("1", 1.0))
    await loading.route(2, ("1", 0.5), ("2", 0.5))
    (answer,) = await loading.house.ask(body("a"))
    assert orjson.loads(answer.body)["version"] == "1"
    assert loading.states() == {"1": "ready", "2": "failed"}
    assert "ONNX" in loading.reasons()["2"]


async def test_a_rotten_download_is_refused_and_a_sound_one_taken_later(
    loading: Loading,
) -> None:
    content = logistic_model([0.1] * 10)
    loading.registry.publish("1", content)
    (sha256,) = loading.registry.files
    loading.registry.files[sha256] = content[:-1] + b"x"
    await loading.route(1, ("1", 1.0))
    assert loading.states() == {"1": "failed"}
    (missing,) = loading.load.missing()
    assert missing.startswith("model risk is not loaded: ")
    assert "sha256" in missing
    (answer,) = await loading.house.ask(body("a"))
    assert (answer.status, answer.retryable) == (503, True)
    loading.registry.files[sha256] = content
    await loading.load.apply()
    assert loading.states() == {"1": "ready"}


async def test_a_file_that_rots_on_disk_is_brought_again(loading: Loading, tmp_path: Path) -> None:
    content = logistic_model([0.1] * 10)
    loading.registry.publish("1", content)
    await loading.route(1, ("1", 1.0))
    (sha256,) = loading.registry.files
    (tmp_path / sha256).write_bytes(b"rot")
    artifacts = DiskArtifacts(tmp_path, loading.registry.download, 1 << 20)
    assert await artifacts.bring(sha256, len(content)) == content
    assert loading.registry.downloads == 2
    await artifacts.bring(sha256, len(content))
    assert loading.registry.downloads == 2


async def test_golden_answers_that_differ_stop_a_version(loading: Loading) -> None:
    content = logistic_model([0.1] * 10)
    rows = np.ones((4, 10), np.float32)
    for version, answer in (("1", 1 / (1 + np.exp(-1.0))), ("2", 0.9)):
        golden = golden_for(rows, [[1 - answer, answer]] * 4)
        loading.registry.publish(version, content)
        manifest = loading.registry.manifests[version]
        entry = FileEntry(path="golden.json", sha256=_sha(golden), size_bytes=len(golden))
        loading.registry.files[entry.sha256] = golden
        loading.registry.manifests[version] = manifest.model_copy(
            update={"files": (*manifest.files, entry)}
        )
    await loading.route(1, ("1", 1.0), warm=("2",))
    assert loading.states() == {"1": "ready", "2": "failed"}
    assert "golden" in loading.reasons()["2"]


async def test_another_fingerprint_of_the_features_is_refused(loading: Loading) -> None:
    loading.registry.publish("1", logistic_model([0.1] * 10), feature_fingerprint="0" * 64)
    await loading.route(1, ("1", 1.0))
    assert loading.states() == {"1": "failed"}
    assert "fingerprint" in loading.reasons()["1"]


async def test_a_version_with_an_input_that_nothing_fills_is_not_served(loading: Loading) -> None:
    content = logistic_model([0.1] * 10)
    loading.registry.publish("1", content)
    loading.registry.publish("2", content, inputs=[*defaults(0.0)[:9], _nowhere()])
    await loading.route(1, ("1", 1.0))
    await loading.route(2, ("2", 1.0))
    assert loading.states() == {"2": "failed"}
    (state,) = loading.load.report().versions
    assert "has no stats:nowhere" in state.reason
    (answer,) = await loading.house.ask(body("a"))
    assert orjson.loads(answer.body)["version"] == "1"


def _nowhere() -> dict[str, object]:
    return {"name": "f9", "dtype": "float32", "source": "stats:nowhere", "on_missing": "fail"}


async def test_the_table_in_effect_is_kept_for_a_start_without_registry(
    loading: Loading, tmp_path: Path
) -> None:
    loading.registry.publish("1", logistic_model([0.1] * 10))
    await loading.route(3, ("1", 1.0))
    with ThreadPoolExecutor(1) as executor:
        again = loading_of(loading.registry, loading.house, executor, tmp_path).load
        loading.registry.files.clear()  # no download is possible any more
        await again.start()
        assert again.fleet.epoch == 3
        assert again.missing() == []


async def test_a_model_that_cannot_be_loaded_keeps_no_table_from_being_kept(
    loading: Loading, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        loading.registry.publish(version, logistic_model([int(version) / 10] * 10))
    loading.registry.publish("3", b"not a model")
    await loading.route(1, ("2", 1.0))
    back, broken = (
        ModelRoute(arms=(Arm(version=version, variant="production", weight=1.0),))
        for version in ("1", "3")
    )
    loading.follow.offer(RoutingTable(epoch=2, models={"risk": back, "broken": broken}))
    await loading.load.apply()
    assert loading.load.fleet.missing == {"broken"}
    with ThreadPoolExecutor(1) as executor:
        again = loading_of(loading.registry, loading.house, executor, tmp_path).load
        await again.start()
    assert again.fleet.epoch == 2  # not version 2 again, which was taken back
    assert [version for _, version in again.fleet.versions] == ["1"]


async def test_a_full_disk_that_takes_no_table_keeps_nobody_from_being_served(
    loading: Loading,
) -> None:
    loading.registry.publish("1", logistic_model([0.1] * 10), inputs=defaults(0.0))
    loading.registry.disk_full = True
    await loading.route(1, ("1", 1.0))
    assert loading.load.fleet.epoch == 1
    assert (await loading.house.ask(body("a")))[0].status == 200
    loading.registry.disk_full = False
    await loading.route(2, ("1", 1.0))
    assert loading.registry.kept is not None
    assert loading.registry.kept.epoch == 2


async def test_a_version_no_table_names_is_closed_when_nothing_holds_it(
    loading: Loading,
) -> None:
    loading.registry.publish("1", logistic_model([0.1] * 10))
    loading.registry.publish("2", logistic_model([0.2] * 10))
    await loading.route(1, ("1", 1.0))
    old = loading.load.fleet.versions["risk", "1"]
    old.in_use += 1
    await loading.route(2, ("2", 1.0))
    assert loading.states() == {"1": "draining", "2": "ready"}
    old.in_use -= 1
    await loading.load.apply()
    assert loading.states() == {"2": "ready"}


async def test_a_model_that_leaves_the_table_is_closed_and_not_found(
    loading: Loading, tmp_path: Path
) -> None:
    loading.registry.publish("1", logistic_model([0.1] * 10), inputs=defaults(0.0))
    await loading.route(1, ("1", 1.0))
    assert (await loading.house.ask(body("a")))[0].status == 200
    loading.follow.offer(RoutingTable(epoch=2))
    await loading.load.apply()
    loading.house.fleet = loading.load.fleet
    assert (loading.states(), loading.load.missing()) == ({}, [])
    assert (await loading.house.ask(body("a")))[0].status == 404
    with ThreadPoolExecutor(1) as executor:  # the registry away, at the next start
        again = loading_of(loading.registry, loading.house, executor, tmp_path).load
        await again.start()
    assert (again.fleet.epoch, again.fleet.models) == (2, {})


def golden_for(rows: Any, answers: Any) -> bytes:
    def tensor(values: Any) -> GoldenTensor:
        array = np.asarray(values, np.float32)
        flat = tuple(float(value) for value in array.reshape(-1))
        return GoldenTensor(dtype="float32", shape=array.shape, values=flat)

    golden = GoldenSet(
        rows=len(rows), inputs={"input": tensor(rows)}, outputs={"probabilities": tensor(answers)}
    )
    return golden.model_dump_json().encode()


def _sha(content: bytes) -> str:
    from hashlib import sha256

    return sha256(content).hexdigest()
