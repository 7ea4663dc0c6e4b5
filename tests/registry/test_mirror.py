"""MLflow shows what serves, and what moves there without us is noticed. MLflow is real."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from kit.clock import FakeClock
from registry.adapters.artifacts_disk import DiskArtifacts
from registry.adapters.connection_mlflow import MlflowConnection
from registry.adapters.mirror_mlflow import MlflowMirror
from registry.app import build
from registry.domain.version import VersionRecord
from registry.mirror import Mirror
from registry.ports import MirrorRefused
from tests.polling import until
from tests.registry.conftest import (
    doubling_model,
    manifest_of,
    promote,
    publish,
    running,
    settings_for,
)
from tests.registry.scenes import Desk

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, while it is imported

LIMIT_S = 60.0  # importing MLflow takes seconds, on a busy machine many


@pytest.fixture
async def mirrored(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    """A registry that looks at MLflow ten times a second."""
    async with running(build(settings_for(tmp_path, mirror_s=0.1), fake_clock)) as client:
        yield client


def _mlflow(state_dir: Path) -> Any:  # mlflow has no types
    import mlflow

    uri = f"sqlite:///{state_dir / 'mlflow' / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


async def _until_mirrored(client: httpx.AsyncClient, state_dir: Path, alias: str) -> Any:
    from mlflow.exceptions import MlflowException

    found: list[Any] = []

    async def mirrored() -> bool:
        version = (await client.get("/v1/models/delay")).json()["versions"][-1]
        if version["mlflow_version"] is not None:
            with suppress(MlflowException):
                found.append(_mlflow(state_dir).get_model_version_by_alias("delay", alias))
        return bool(found)

    await until(mirrored, LIMIT_S)
    return found[0]


async def _moves(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """What the audit log says of aliases that were moved in MLflow."""
    entries = (await client.get("/v1/audit")).json()["entries"]
    return [entry for entry in entries if entry["action"] == "alias.moved_outside"]


async def test_the_production_alias_resolves_to_what_serves_and_is_put_back_when_moved(
    mirrored: httpx.AsyncClient, tmp_path: Path
) -> None:
    import mlflow
    import numpy as np

    await publish(mirrored, 2.0)
    await promote(mirrored, "1", "production")
    registered = await _until_mirrored(mirrored, tmp_path, "production")
    assert registered.tags["leadline.version"] == "1"
    run = _mlflow(tmp_path).get_run(registered.run_id)
    assert run.data.params == {"trees": "100"}
    assert run.data.metrics == {"mae": 3.5}
    loaded = mlflow.pyfunc.load_model("models:/delay@production")
    answer = loaded.predict({"input": np.array([[21.0]], dtype=np.float32)})
    assert float(next(iter(answer.values()))[0][0]) == 42.0

    await publish(mirrored, 3.0)
    await _until_mirrored(mirrored, tmp_path, "candidate")
    _mlflow(tmp_path).set_registered_model_alias("delay", "production", "2")

    async def noticed() -> bool:
        return bool(await _moves(mirrored))

    await until(noticed, LIMIT_S)
    moves = await _moves(mirrored)
    assert (moves[0]["before"], moves[0]["after"]) == ({"production": "1"}, {"production": "2"})
    assert "production from 1 to 2" in moves[0]["reason"]

    async def put_back() -> bool:
        found = await _until_mirrored(mirrored, tmp_path, "production")
        return str(found.version) == "1"

    await until(put_back, LIMIT_S)


async def test_training_that_mlflow_would_not_take_is_shown_as_far_as_it_can_be(
    mirrored: httpx.AsyncClient, tmp_path: Path
) -> None:
    plain = manifest_of("delay")
    training = {
        **plain["training"],
        "dataset_name": "flights " * 100,
        "git_commit": "c" * 10_000,
        "hyperparameters": {
            **{f"step{at}__depth": at for at in range(250)},
            "a@b": 1, "a#b": 2, "..": 3, "": 4, "x" * 300: 5, "note": "n" * 9_000,
        },
        "metrics": {"f1@0.5": 0.9, "val/auc": 0.8, "/mae": 3.5, "précision (macro)": 0.7},
    }  # fmt: skip
    assert (await publish(mirrored, manifest={**plain, "training": training})).status_code == 201
    shown = await _until_mirrored(mirrored, tmp_path, "candidate")
    run = _mlflow(tmp_path).get_run(shown.run_id).data
    assert len(run.params) == len(training["hyperparameters"])
    assert (run.params["step249__depth"], run.params["a_b"], run.params["a_b_2"]) == (
        "249", "1", "2",
    )  # fmt: skip
    assert run.metrics == {
        "f1_0.5": 0.9, "val/auc": 0.8, "_mae": 3.5, "précision _macro_": 0.7,
    }  # fmt: skip


async def test_a_version_that_mlflow_refuses_keeps_no_other_from_being_shown(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    mlflow = SlowMlflow(refused="delay/1")
    nothing = DiskArtifacts(tmp_path / "artifacts", 1, ThreadPoolExecutor(1))
    async with Desk(tmp_path, fake_clock) as desk:
        with capture_logs() as said:
            await Mirror(desk.ledger, nothing, mlflow, "a", 10.0)()
        told = [(line["version"], line["reason"]) for line in said if "version" in line]
        assert told == [("delay/1", "not so")]
        assert mlflow.put == ["delay/2"]


async def test_what_was_begun_in_mlflow_and_not_ended_is_gone_on_with(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with ThreadPoolExecutor(1) as thread:
        mlflow = MlflowMirror(MlflowConnection(uri, tmp_path / "mlflow", thread))
        model = tmp_path / "model.onnx"
        async with Desk(tmp_path, fake_clock) as desk:
            record = (await desk.ledger.read(lambda tx: tx.versions("delay")))[0]
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                await mlflow.put_version(record, {"model.onnx": model})
        model.write_bytes(doubling_model(2.0))
        assert await mlflow.put_version(record, {"model.onnx": model}) == "1"
        client = MlflowConnection(uri, tmp_path / "mlflow", thread).client()
        experiment = client.get_experiment_by_name("leadline/delay")
        runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"]


async def test_without_mlflow_everything_else_goes_on_and_the_version_waits(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    settings = settings_for(tmp_path, mirror_s=0.05, mlflow_uri="http://127.0.0.1:9")
    with capture_logs() as said:
        async with running(build(settings, fake_clock)) as client:
            assert (await publish(client, 2.0)).status_code == 201
            assert (await promote(client, "1", "production")).status_code == 200
            await until(lambda: any(entry.get("task") == "mirror" for entry in said), 30.0)
            assert (await client.get("/v1/routing")).json()["models"]
            assert (await client.get("/readyz")).status_code == 200
            version = (await client.get("/v1/models/delay/versions/1")).json()
            assert version["mlflow_version"] is None


class SlowMlflow:
    """A ``ModelMirror`` in memory; what is asked of it is answered a turn of the loop later."""

    def __init__(self, refused: str = "") -> None:
        self._refused = refused
        self.put: list[str] = []
        self.shown: dict[str, str] = {}
        self.aliased: dict[str, str] = {}

    async def put_version(self, record: VersionRecord, _files: Mapping[str, Path]) -> str:
        await asyncio.sleep(0)
        if record.name == self._refused:
            raise MirrorRefused("not so")
        self.put.append(record.name)
        number = str(len(self.shown) + 1)
        self.shown[number] = record.digest
        return number

    async def digests(self, _model: str) -> dict[str, str]:
        await asyncio.sleep(0)
        return dict(self.shown)

    async def aliases(self, _model: str) -> dict[str, str]:
        await asyncio.sleep(0)
        return dict(self.aliased)

    async def set_alias(self, _model: str, alias: str, version: str | None) -> None:
        await asyncio.sleep(0)
        self.aliased.pop(alias, None)
        if version is not None:
            if version not in self.shown:
                raise LookupError(version)
            self.aliased[alias] = version


async def test_two_copies_show_a_version_once_and_do_not_accuse_each_other(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    mlflow, nothing = SlowMlflow(), DiskArtifacts(tmp_path / "artifacts", 1, ThreadPoolExecutor(1))
    async with Desk(tmp_path, fake_clock) as desk:
        copies = [Mirror(desk.ledger, nothing, mlflow, name, 10.0) for name in ("a", "b")]
        for look in range(6):
            await asyncio.gather(*(copy() for copy in copies))
            if look == 2:
                await desk.start()
                await desk.look()
        assert sorted(mlflow.put) == ["delay/1", "delay/2"]
        assert "alias.moved_outside" not in await desk.actions()
        assert mlflow.aliased["production"] == "1"


async def test_another_copy_goes_on_where_the_first_fell_silent(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    mlflow, nothing = SlowMlflow(), DiskArtifacts(tmp_path / "artifacts", 1, ThreadPoolExecutor(1))
    async with Desk(tmp_path, fake_clock) as desk:
        await Mirror(desk.ledger, nothing, mlflow, "a", 10.0)()
        mlflow.aliased.clear()
        second = Mirror(desk.ledger, nothing, mlflow, "b", 10.0)
        await second()
        assert mlflow.aliased == {}
        desk.clock.step_us(11_000_000)
        await second()
        assert mlflow.aliased["production"] == "1"


def _copy_of(database: Path) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:")
    with closing(sqlite3.connect(database, timeout=10.0)) as source:
        source.backup(copy)
    return copy


async def test_an_mlflow_restored_from_a_copy_shows_again_what_it_lost_and_the_log_says_it_once(
    mirrored: httpx.AsyncClient, tmp_path: Path
) -> None:
    await publish(mirrored, 2.0)
    await promote(mirrored, "1", "production")
    await _until_mirrored(mirrored, tmp_path, "production")
    copy = _copy_of(tmp_path / "mlflow" / "mlflow.db")
    await publish(mirrored, 3.0)
    await _until_mirrored(mirrored, tmp_path, "candidate")
    await promote(mirrored, "1", "archived")
    await promote(mirrored, "2", "production")

    async def shown() -> str | None:
        with suppress(Exception):  # MLflow's own, while its database changes under it
            found = _mlflow(tmp_path).get_model_version_by_alias("delay", "production")
            return str(found.tags["leadline.version"])
        return None

    async def is_right() -> bool:
        return await shown() == "2"

    await until(is_right, LIMIT_S)
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db", timeout=10.0)) as restored:
        copy.backup(restored)
    await publish(mirrored, 4.0)  # which gets a number there that version 2 had
    await until(is_right, LIMIT_S)
    candidate = await _until_mirrored(mirrored, tmp_path, "candidate")
    assert candidate.tags["leadline.version"] == "3"
    before = len(await _moves(mirrored))
    for version, factor in (("4", 5.0), ("5", 6.0)):  # each is shown by another look
        await publish(mirrored, factor)
        await until(partial(_is_mirrored, mirrored, version), LIMIT_S)
    assert len(await _moves(mirrored)) == before <= 2


async def test_a_version_whose_files_are_lost_keeps_no_other_from_being_shown(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    settings = settings_for(tmp_path)
    async with running(build(settings, fake_clock)) as client:
        await publish(client, 2.0)
        await publish(client, 3.0)
    for place in (tmp_path / "registry" / "artifacts").glob("??/*"):
        if place.read_bytes() == doubling_model(2.0):
            place.unlink()
    async with running(build(settings_for(tmp_path, mirror_s=0.1), fake_clock)) as client:
        await _until_mirrored(client, tmp_path, "candidate")
        assert (await client.get("/v1/models/delay/versions/1")).json()["mlflow_version"] is None
        await publish(client, 2.0)
        await until(lambda: _is_mirrored(client, "1"), LIMIT_S)


async def _is_mirrored(client: httpx.AsyncClient, version: str) -> bool:
    page = (await client.get(f"/v1/models/delay/versions/{version}")).json()
    return page["mlflow_version"] is not None
