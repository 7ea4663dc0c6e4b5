"""Reads what a data scientist's MLflow run logged: parameters, metrics, data set, ONNX files."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.adapters.connection_mlflow import METRICS_ROWS_TAG, MlflowConnection
from registry.ports import LoggedRun

GIT_COMMIT_TAG = "mlflow.source.git.commit"
CONTEXT_TAG = "mlflow.data.context"
REMOTE = frozenset({"mlflow-artifacts", "s3", "gs", "wasbs", "abfss"})
"""Where runs may keep their files, beside MLflow's own directory here. Whoever starts a run names
the place: a path of this machine or a URL of our network must not be read for them."""
MLFLOWS_OWN = frozenset(
    {
        "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta",
        "input_example.json", "serving_input_example.json",
    }
)  # fmt: skip
OURS = "leadline"
"""Beside an MLflow model, the folder with everything that MLflow has no place for."""


class MlflowRuns:
    """See ``registry.ports.RunSource``."""

    def __init__(self, connection: MlflowConnection, bytes_max: int, files_max: int) -> None:
        self._connection = connection
        self._bytes_max = bytes_max
        self._files_max = files_max

    @asynccontextmanager
    async def __call__(self, run_id: str, artifact: str) -> AsyncIterator[LoggedRun]:
        """The run with its files, for as long as they are looked at."""
        directory = self._connection.directory
        with TemporaryDirectory(dir=directory if directory.is_dir() else None) as folder:
            yield await self._connection.off_loop(
                lambda: self._read(run_id, artifact, Path(folder))
            )

    def _read(self, run_id: str, artifact: str, folder: Path) -> LoggedRun:
        self._connection.prepare()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            client = self._connection.client()
            run = client.get_run(run_id)
            if run.info.status != "FINISHED":
                raise Problem(
                    ProblemCode.CONFLICT,
                    f"The run is {run.info.status}; one that is FINISHED does not change any more.",
                )
            files = self._files(self._location(client, run, artifact), folder)
        except MlflowException as refused:
            if refused.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise Problem(ProblemCode.NOT_FOUND, "MLflow has no such run.") from refused
            raise _away() from refused
        except (OSError, SQLAlchemyError) as away:
            raise _away() from away
        return LoggedRun(_training(run), files)

    def _location(self, client: Any, run: Any, artifact: str) -> str:
        """Where the files are: of a logged model of that name, or below the run's own place."""
        models = run.outputs.model_outputs if run.outputs else []
        logged = [client.get_logged_model(one.model_id) for one in models]
        named = [one.artifact_location for one in logged if one.name == artifact]
        return self._permitted(named[-1] if named else f"{run.info.artifact_uri}/{artifact}")

    def _permitted(self, location: str) -> str:
        parts = urlsplit(location)
        own = self._connection.directory.resolve()
        embedded = self._connection.uri.startswith("sqlite")
        if parts.scheme in REMOTE and not (parts.scheme == "mlflow-artifacts" and embedded):
            return location
        # The embedded server keeps what it calls mlflow-artifacts: in the directory we share.
        start = own / "artifacts" if parts.scheme == "mlflow-artifacts" else Path("/")
        place = (start / unquote(parts.path).lstrip("/")).resolve()
        if parts.scheme not in ("mlflow-artifacts", "file", "") or not place.is_relative_to(own):
            raise Problem(
                ProblemCode.INVALID_INPUT, "The run keeps its files where they are not read."
            )
        return place.as_uri()

    def _files(self, location: str, folder: Path) -> dict[str, Path]:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(location, tracking_uri=self._connection.uri)
        found = dict(_listed(repository, None, self._files_max + len(MLFLOWS_OWN)))
        is_mlflow_model = "MLmodel" in found
        wanted = [path for path in found if not (is_mlflow_model and path in MLFLOWS_OWN)]
        if sum(found[path] for path in wanted) > self._bytes_max:
            raise Problem(
                ProblemCode.CONTENT_TOO_LARGE, f"A version may have {self._bytes_max} bytes."
            )
        return {
            path.removeprefix(f"{OURS}/") if is_mlflow_model else path: Path(
                repository.download_artifacts(path, str(folder))
            )
            for path in wanted
        }


def _listed(repository: Any, below: str | None, count_max: int) -> Iterator[tuple[str, int]]:
    """Every file's path and size; two levels deep is what versions have."""
    for count, entry in enumerate(repository.list_artifacts(below)):
        if count >= count_max:
            raise Problem(ProblemCode.CONTENT_TOO_LARGE, "The run logged too many files there.")
        if not entry.is_dir:
            yield entry.path, int(entry.file_size or 0)
        elif len(PurePosixPath(entry.path).parts) < 2:
            yield from _listed(repository, entry.path, count_max)


def _training(run: Any) -> dict[str, Any]:
    """The manifest's ``training``, as far as the run says it."""
    said: dict[str, Any] = {
        "hyperparameters": dict(run.data.params),
        "metrics": dict(run.data.metrics),
        "trained_at": datetime.fromtimestamp(run.info.end_time / 1000, UTC).isoformat(),
        "git_commit": run.data.tags.get(GIT_COMMIT_TAG),
        "metrics_rows": _whole(run.data.tags.get(METRICS_ROWS_TAG, "")),
    }
    inputs = run.inputs.dataset_inputs if run.inputs else []
    if inputs:
        # The one that was trained on, where the run says which that is.
        dataset = max(inputs, key=_is_training).dataset
        told = "\n".join([dataset.name, dataset.digest, dataset.source, dataset.schema or ""])
        said |= {
            "dataset_name": dataset.name,
            "dataset_version": dataset.digest,
            "dataset_digest": sha256(told.encode()).hexdigest(),
        }
    return {name: value for name, value in said.items() if value is not None}


def _is_training(one: Any) -> bool:
    return any(tag.key == CONTEXT_TAG and tag.value.startswith("train") for tag in one.tags)


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _away() -> Problem:
    return Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, "MLflow cannot be reached.")
