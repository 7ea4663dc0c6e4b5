"""A version published from what an MLflow run logged. MLflow is real."""

from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import httpx
import onnx
import orjson
import pytest
from onnx import TensorProto

from kit.clock import FakeClock
from registry.app import build
from tests.registry.conftest import (
    doubling_model,
    manifest_of,
    onnx_from,
    running,
    settings_for,
    speaking_as,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, while it is imported

COMMIT = "a" * 40
ROWS = {"training": {"metrics_rows": 500}}


@pytest.fixture
async def client(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    async with running(build(settings_for(tmp_path), fake_clock)) as client:
        yield client


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it, which takes seconds to make."""
    import mlflow

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow(tmp_path: Path, empty: Path) -> Any:  # mlflow has no types
    """The MLflow that the registry of this test looks at."""
    import mlflow

    folder = tmp_path / "mlflow"
    folder.mkdir()
    copyfile(empty, folder / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("mine", artifact_location=(folder / "artifacts" / "1").as_uri())
    mlflow.set_experiment("mine")
    return mlflow


def _log_lineage(mlflow: Any, commit: str = COMMIT) -> None:
    import pandas as pd

    seen, unseen = (pd.DataFrame({"x": values}) for values in ([1.0, 2.0], [3.0]))
    mlflow.log_input(mlflow.data.from_pandas(unseen, name="held_back"), "validation")
    mlflow.log_input(mlflow.data.from_pandas(seen, name="flights"), "training")
    mlflow.log_params({"trees": 100})
    mlflow.log_metrics({"mae": 3.5})
    mlflow.set_tag("mlflow.source.git.commit", commit)


def _logged_model(mlflow: Any, graph: onnx.ModelProto | None = None) -> str:
    """A run as data scientists make it: lineage, and an ONNX model under ``model``."""
    with mlflow.start_run() as run:
        _log_lineage(mlflow)
        mlflow.onnx.log_model(
            graph or onnx_from(doubling_model()), name="model", pip_requirements=["onnx"]
        )
    return str(run.info.run_id)


def _logged_bundle(mlflow: Any, folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir()
    for path, content in files.items():
        (folder / path).write_bytes(content)
    with mlflow.start_run() as run:
        _log_lineage(mlflow)
        mlflow.log_artifacts(str(folder), "bundle")
    return str(run.info.run_id)


async def _adopt(
    client: httpx.AsyncClient, run_id: str, *, query: str = "", **fields: Any
) -> httpx.Response:
    headers = fields.pop("headers", None)
    body = {"run_id": run_id, **fields}
    return await client.post(f"/v1/models/delay/versions{query}", json=body, headers=headers)


def _staged(tmp_path: Path) -> list[Path]:
    return [place for place in (tmp_path / "registry").rglob("staging/*") if place.is_file()]


async def test_a_run_brings_its_graph_and_its_lineage(
    client: httpx.AsyncClient, mlflow: Any, tmp_path: Path
) -> None:
    run_id = _logged_model(mlflow)
    answer = await _adopt(client, run_id, manifest=ROWS)
    assert answer.status_code == 201, answer.text
    version = (await client.get("/v1/models/delay/versions/1")).json()
    training = version["lineage"]["training"]
    assert training["dataset_name"] == "flights"
    assert training["hyperparameters"] == {"trees": "100"}
    assert training["metrics"] == {"mae": 3.5}
    assert (training["git_commit"], training["metrics_rows"]) == (COMMIT, 500)
    assert version["manifest"]["tensors"]["layout"] == "raw"
    digest = answer.json()["files"][0]["sha256"]
    stored = await client.get(f"/v1/artifacts/{digest}")
    onnx.checker.check_model(onnx_from(stored.content))
    assert _staged(tmp_path) == []


async def test_the_same_run_is_the_same_version(client: httpx.AsyncClient, mlflow: Any) -> None:
    run_id = _logged_model(mlflow)
    headers = {"idempotency-key": "once"}
    first = await _adopt(client, run_id, manifest=ROWS, headers=headers)
    again = await _adopt(client, run_id, manifest=ROWS)
    assert (first.status_code, again.status_code) == (201, 200)
    other = {"training": {"metrics_rows": 501}}
    refused = await _adopt(client, run_id, manifest=other, headers=headers)
    assert refused.json()["code"] == "idempotency-mismatch"


async def test_a_bundle_that_was_logged_whole_is_published_whole(
    client: httpx.AsyncClient, mlflow: Any, tmp_path: Path
) -> None:
    files = {
        "manifest.json": orjson.dumps(manifest_of()),
        "model.onnx": doubling_model(),
        "golden.json": b"{}",
    }
    run_id = _logged_bundle(mlflow, tmp_path / "bundle", files)
    answer = await _adopt(client, run_id, artifact="bundle")
    assert answer.status_code == 201, answer.text
    assert [one["path"] for one in answer.json()["files"]] == ["golden.json", "model.onnx"]
    found = (await client.get("/v1/models/delay/versions/1")).json()["manifest"]
    assert found["inputs"][0]["source"] == "request:x"
    assert found["training"]["git_commit"] == "abc123"


async def test_a_file_that_changed_in_mlflow_after_it_was_listed_is_refused(
    client: httpx.AsyncClient, mlflow: Any, tmp_path: Path
) -> None:
    listed = [{"path": "model.onnx", "sha256": "0" * 64, "size_bytes": 1}]
    manifest = orjson.dumps(manifest_of(files=listed))
    files = {"manifest.json": manifest, "model.onnx": doubling_model()}
    run_id = _logged_bundle(mlflow, tmp_path / "bundle", files)
    answer = await _adopt(client, run_id, artifact="bundle")
    assert answer.status_code == 422
    assert "not the ones the manifest lists" in answer.json()["detail"]
    assert _staged(tmp_path) == []


async def test_what_the_run_does_not_say_is_listed(client: httpx.AsyncClient, mlflow: Any) -> None:
    with mlflow.start_run() as run:
        mlflow.onnx.log_model(onnx_from(doubling_model()), name="model", pip_requirements=["onnx"])
    answer = await _adopt(client, run.info.run_id)
    assert answer.status_code == 422
    wanted = {"dataset_name", "dataset_version", "dataset_digest", "metrics_rows", "git_commit"}
    assert {f"training.{name}" for name in wanted} <= set(answer.json()["missing"])


async def test_a_pickled_model_is_refused_with_what_to_log_instead(
    client: httpx.AsyncClient, mlflow: Any, tmp_path: Path
) -> None:
    run_id = _logged_bundle(mlflow, tmp_path / "b", {"model.pkl": b"\x80\x04\x95 a pickle"})
    answer = await _adopt(client, run_id, artifact="bundle")
    assert answer.status_code == 422
    assert "model.pkl" in answer.json()["detail"]
    assert "mlflow.onnx.log_model" in answer.json()["detail"]


async def test_weights_beside_the_graph_are_refused_with_the_cure(
    client: httpx.AsyncClient, mlflow: Any
) -> None:
    graph = onnx_from(doubling_model())
    big = onnx.helper.make_tensor("big", TensorProto.FLOAT, [1024], [0.5] * 1024)
    packed = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(big), "big")
    graph.graph.initializer.append(packed)
    answer = await _adopt(client, _logged_model(mlflow, graph), manifest=ROWS)
    assert answer.status_code == 422
    assert "save_as_external_data=False" in answer.text


async def test_a_run_that_goes_on_is_refused(client: httpx.AsyncClient, mlflow: Any) -> None:
    run = mlflow.MlflowClient().create_run("1")
    answer = await _adopt(client, run.info.run_id)
    assert answer.status_code == 409
    assert "RUNNING" in answer.json()["detail"]


@pytest.mark.parametrize("place", ["/etc", "{state}/registry", "{state}/mlflow/../registry"])
async def test_a_run_cannot_make_the_registry_read_its_own_machine(
    client: httpx.AsyncClient, mlflow: Any, tmp_path: Path, place: str
) -> None:
    secret = tmp_path / "registry" / "model"
    secret.mkdir(parents=True, exist_ok=True)
    (secret / "model.onnx").write_bytes(doubling_model())
    location = f"file://{place.format(state=tmp_path)}"
    experiment = mlflow.create_experiment("theirs", artifact_location=location)
    with mlflow.start_run(experiment_id=experiment) as run:
        pass
    answer = await _adopt(client, run.info.run_id, manifest={"training": manifest_of()["training"]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The run keeps its files where they are not read."


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"run_id": "0" * 32}, 404),
        ({"run_id": "../x"}, 422),
        ({"run_id": "0" * 32, "artifact": "../../etc"}, 422),
        ({"run_id": "0" * 32, "surprise": 1}, 422),
        ({}, 422),
        ([], 422),
    ],
    ids=str,
)
async def test_a_run_that_cannot_be_is_a_problem(
    client: httpx.AsyncClient, mlflow: Any, body: Any, status: int
) -> None:
    answer = await client.post("/v1/models/delay/versions", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )


async def test_without_mlflow_the_caller_is_told_to_come_again(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    away = settings_for(tmp_path, mlflow_uri="http://127.0.0.1:9")
    async with running(build(away, fake_clock)) as client:
        answer = await _adopt(client, "0" * 32)
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)


async def test_a_reader_may_not_publish_a_run(client: httpx.AsyncClient) -> None:
    answer = await _adopt(client, "0" * 32, headers=speaking_as("ann", "registry:read"))
    assert answer.status_code == 403


async def test_a_dry_run_answers_and_keeps_nothing(client: httpx.AsyncClient, mlflow: Any) -> None:
    answer = await _adopt(client, _logged_model(mlflow), manifest=ROWS, query="?dry_run=true")
    assert answer.json()["dry_run"] is True
    assert (await client.get("/v1/models/delay")).status_code == 404
