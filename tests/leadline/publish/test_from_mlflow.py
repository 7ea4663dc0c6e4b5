from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import pandas as pd
import pytest

from leadline.publish.from_mlflow import open_run
from leadline.publish.original import PublishError
from leadline.publish.publication import Publication, build
from tests.leadline.publish.flowers import COLOURS, INPUTS, flowers

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("flowers", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("flowers")
    return uri


@pytest.fixture(scope="module")
def run_id(tracking: str) -> str:
    seen = flowers().train()
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(seen.matrix(), seen.labels, categorical_feature=[3])
    frame = pd.DataFrame(dict(seen.rows))
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(frame, name="flowers"), "training")
        mlflow.log_params({"n_estimators": 5})
        mlflow.log_metrics({"auc": 0.9})
        mlflow.set_tag("mlflow.source.git.commit", "a" * 40)
        mlflow.lightgbm.log_model(model, name="model", pip_requirements=["lightgbm"])
    return str(run.info.run_id)


def test_a_run_brings_its_model_and_its_lineage(tracking: str, run_id: str) -> None:
    run = open_run(run_id, tracking)
    unseen = flowers().held_back()
    made = Publication(
        name="flower",
        model=run.model,
        inputs=INPUTS,
        sample=flowers().train().rows,
        validation=unseen.rows,
        labels=unseen.labels,
        training=run.training(metrics_rows=500),
        categories={"colour": COLOURS},
    )
    training = build(made).manifest.training
    assert training is not None
    assert training.dataset_name == "flowers"
    assert training.metrics == {"auc": 0.9}
    assert training.hyperparameters["n_estimators"] == "5"
    assert training.git_commit == "a" * 40


def test_what_a_run_did_not_log_is_listed(tracking: str, run_id: str) -> None:
    run = open_run(run_id, tracking)
    bare: Any = mlflow.MlflowClient().create_run(run._data.info.experiment_id)
    empty = type(run)(bare.info.run_id, None, bare)
    with pytest.raises(PublishError, match=r"a data set .*, metrics .*, a git commit"):
        empty.training(metrics_rows=1)


def test_a_run_without_a_model_is_named(tracking: str, run_id: str, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="has no model 'other'"):
        open_run(run_id, tracking, "other")
    with pytest.raises(PublishError, match="has no model"):
        open_run("0" * 32, tracking)
