"""Shows versions and aliases in MLflow's registry."""

import posixpath
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from contracts.manifest import TrainingMetadata
from registry.adapters.connection_mlflow import METRICS_ROWS_TAG, MlflowConnection
from registry.domain.version import VersionRecord, manifest_json
from registry.ports import MirrorRefused

DIGEST_TAG = "leadline.digest"
MODEL_PATH = "model"
# What MLflow takes at most (``mlflow.utils.validation``).
NAME_CHARS_MAX, PARAM_CHARS_MAX, TAG_CHARS_MAX = 250, 6000, 8000
DATASET_CHARS_MAX, SOURCE_CHARS_MAX = 500, 65_535
BATCH_MAX = 100
_REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
_UNFIT = re.compile(r"[^\w. /-]")


class MlflowMirror:
    """See ``registry.ports.ModelMirror``. Nothing is imported before the first call."""

    def __init__(self, connection: MlflowConnection) -> None:
        self._uri, self._directory = connection.uri, connection.directory
        self._off_loop, self._client = connection.off_loop, connection.client

    async def put_version(self, record: VersionRecord, files: Mapping[str, Path]) -> str:
        """Register the version with its run, unless it already is."""

        def put() -> str:
            from mlflow.exceptions import MlflowException

            try:
                return self._put_version(record, files)
            except MlflowException as problem:
                if problem.error_code in _REFUSALS:
                    raise MirrorRefused(str(problem.message)[:500]) from problem
                raise

        return await self._off_loop(put)

    async def digests(self, model: str) -> dict[str, str]:
        """MLflow version number -> digest; those that are not ours are left out."""
        return await self._off_loop(lambda: self._digests(model))

    async def aliases(self, model: str) -> dict[str, str]:
        """Alias -> MLflow version number; empty for a model MLflow does not know."""
        return await self._off_loop(lambda: self._aliases(model))

    async def set_alias(self, model: str, alias: str, version: str | None) -> None:
        """Point the alias at the version; None removes it."""

        def change() -> None:
            if version is None:
                self._client().delete_registered_model_alias(model, alias)
            else:
                self._client().set_registered_model_alias(model, alias, version)

        await self._off_loop(change)

    def _digests(self, model: str) -> dict[str, str]:
        found = self._client().search_model_versions(f"name='{model}'")
        return {str(one.version): one.tags[DIGEST_TAG] for one in found if DIGEST_TAG in one.tags}

    def _aliases(self, model: str) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client().get_registered_model(model).aliases
        except MlflowException as problem:
            if problem.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in found.items()}

    def _put_version(self, record: VersionRecord, files: Mapping[str, Path]) -> str:
        client = self._client()
        self._ensure_model(record.model)
        for number, digest in self._digests(record.model).items():
            if digest == record.digest:
                return number
        run = self._run(record)
        with TemporaryDirectory() as folder:
            _write_flavor(Path(folder), record, files)
            client.log_artifacts(run.info.run_id, folder, MODEL_PATH)
        client.set_terminated(run.info.run_id)
        registered = client.create_model_version(
            record.model,
            source=f"{run.info.artifact_uri}/{MODEL_PATH}",
            run_id=run.info.run_id,
            tags={DIGEST_TAG: record.digest, "leadline.version": record.version},
        )
        return str(registered.version)

    def _ensure_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client().create_registered_model(model)
        except MlflowException as problem:
            if problem.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _run(self, record: VersionRecord) -> Any:
        client, name = self._client(), f"leadline/{record.model}"
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            experiment_id = experiment.experiment_id
        else:
            place = None
            if self._uri.startswith("sqlite"):
                place = (self._directory / "artifacts" / record.model).as_uri()
            experiment_id = client.create_experiment(name, artifact_location=place)
        begun = client.search_runs(
            [experiment_id],
            f"tags.`{DIGEST_TAG}` = '{record.digest}' and attributes.status = 'RUNNING'",
            max_results=1,
        )
        run = begun[0] if begun else client.create_run(
            experiment_id,
            run_name=record.name,
            tags={
                DIGEST_TAG: record.digest,
                "leadline.feature_fingerprint": record.manifest.feature_fingerprint or "",
                "mlflow.user": record.published_by,
            },
        )  # fmt: skip
        assert record.manifest.training is not None
        self._log_training(run.info.run_id, record.manifest.training)
        return run

    def _log_training(self, run_id: str, training: TrainingMetadata) -> None:
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        client = self._client()
        params = [
            Param(name, str(value)[:PARAM_CHARS_MAX])
            for name, value in fit_names(training.hyperparameters).items()
        ]
        stamp_ms = int(datetime.now(UTC).timestamp() * 1000)  # noqa: TID251 - MLflow's own stamp
        metrics = [
            Metric(name, value, stamp_ms, 0) for name, value in fit_names(training.metrics).items()
        ]
        for at in range(0, max(len(params), len(metrics)), BATCH_MAX):
            end = at + BATCH_MAX
            client.log_batch(run_id, metrics=metrics[at:end], params=params[at:end])
        client.set_tag(run_id, "mlflow.source.git.commit", training.git_commit[:TAG_CHARS_MAX])
        client.set_tag(run_id, METRICS_ROWS_TAG, str(training.metrics_rows))
        dataset = Dataset(
            name=training.dataset_name[:DATASET_CHARS_MAX] or "unnamed",
            digest=training.dataset_digest[:36],  # the width of MLflow's column
            source_type="leadline",
            source=training.dataset_version[:SOURCE_CHARS_MAX],
        )
        client.log_inputs(run_id, datasets=[DatasetInput(dataset)])


def fit_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under names that MLflow takes of parameters and metrics: it is strict about
    characters, and a name has to be a path that leads nowhere else."""
    fit: dict[str, Any] = {}
    for name, value in values.items():
        plain = _UNFIT.sub("_", name)[:NAME_CHARS_MAX]
        if posixpath.normpath(plain) != plain or plain.startswith(("/", "..")) or plain == ".":
            plain = plain.replace("/", "_").replace("..", "__").strip(".") or "_"
        several, taken = 2, plain
        while taken in fit:
            taken = f"{plain[: NAME_CHARS_MAX - 6]}_{several}"
            several += 1
        fit[taken] = value
    return fit


def _write_flavor(folder: Path, record: VersionRecord, files: Mapping[str, Path]) -> None:
    """An MLflow ONNX model beside our own files, so that ``mlflow.pyfunc`` can load it."""
    import mlflow.onnx
    import onnx
    import onnxruntime

    # Given requirements stop MLflow from loading the model to guess them.
    requirements = [f"onnx=={onnx.__version__}", f"onnxruntime=={onnxruntime.__version__}"]
    mlflow.onnx.save_model(
        onnx.load_model(files["model.onnx"]),
        str(folder / "flavor"),
        pip_requirements=requirements,
        save_as_external_data=False,
    )
    for part in list((folder / "flavor").iterdir()):
        part.rename(folder / part.name)
    (folder / "flavor").rmdir()
    extra = folder / "leadline"
    extra.mkdir()
    (extra / "manifest.json").write_bytes(manifest_json(record.manifest))
    for path, place in files.items():
        if path != "model.onnx":
            (extra / path).parent.mkdir(parents=True, exist_ok=True)
            copyfile(place, extra / path)
