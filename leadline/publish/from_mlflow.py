"""Publishing from an MLflow run: its model, parameters, metrics and data set."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from contracts.manifest import TrainingMetadata
from leadline.publish.original import PublishError

_GIT_COMMIT = "mlflow.source.git.commit"
_FLAVORS = ("lightgbm", "xgboost", "sklearn", "pytorch")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: ``model`` goes into ``Publication.model``, ``training(...)`` beside it."""

    run_id: str
    model: Any
    _data: Any  # mlflow.entities.Run

    def training(self, metrics_rows: int, git_commit: str | None = None) -> TrainingMetadata:
        """What the run logged, as lineage. ``metrics_rows``: how many rows its metrics are of.

        Raises ``PublishError`` listing what the run does not say and how to log it.
        """
        data, info = self._data.data, self._data.info
        inputs = self._data.inputs.dataset_inputs if self._data.inputs else []
        commit = git_commit or data.tags.get(_GIT_COMMIT)
        missing = [
            *([] if inputs else ["a data set (mlflow.log_input)"]),
            *([] if data.metrics else ["metrics (mlflow.log_metrics)"]),
            *([] if commit else ["a git commit (run inside a repository, or pass git_commit)"]),
        ]
        if missing:
            raise PublishError(f"The run {self.run_id} lacks {', '.join(missing)}.")
        dataset = inputs[0].dataset
        told = "\n".join([dataset.name, dataset.digest, dataset.source, dataset.schema or ""])
        ended = info.end_time or info.start_time
        return TrainingMetadata(
            dataset_name=dataset.name,
            dataset_version=dataset.digest,
            dataset_digest=sha256(told.encode()).hexdigest(),
            hyperparameters=dict(data.params),
            metrics=dict(data.metrics),
            metrics_rows=metrics_rows,
            trained_at=datetime.fromtimestamp(ended / 1000, UTC).isoformat(),
            git_commit=str(commit),
        )


def open_run(run_id: str, tracking_uri: str, artifact: str = "model") -> Run:
    """Load a run and the model it logged under ``artifact``.

    MLflow keeps scikit-learn and PyTorch models as pickles: only open runs that you trust, as you
    would run their code. What is published is ONNX. Raises ``PublishError``.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(tracking_uri)
    try:
        data = mlflow.get_run(run_id)
        model_uri = f"runs:/{run_id}/{artifact}"
        flavors = mlflow.models.get_model_info(model_uri).flavors
    except MlflowException as refused:
        said = str(refused).splitlines()[0]
        raise PublishError(f"The run {run_id} has no model {artifact!r}: {said}") from None
    flavor = next((name for name in _FLAVORS if name in flavors), None)
    if flavor is None:
        raise PublishError(
            f"The run's model has the flavors {', '.join(sorted(flavors))}; one of "
            f"{', '.join(_FLAVORS)} can be converted."
        )
    return Run(run_id, getattr(mlflow, flavor).load_model(model_uri), data)
