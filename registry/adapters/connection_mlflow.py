"""MLflow through its own client, in a thread of its own: importing it takes seconds."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ARTIFACT_ROOT = "mlflow-artifacts:/"
"""Where runs keep their files that nobody gave a place: with the server, whoever asks it."""
METRICS_ROWS_TAG = "leadline.metrics_rows"
"""Of a run: how many rows its metrics are of."""


class MlflowConnection:
    """One client for all who talk to MLflow. Nothing is imported before the first call."""

    def __init__(self, uri: str, directory: Path, executor: Executor) -> None:
        self.uri = uri
        self.directory = directory.absolute()
        self._executor = executor
        self._connected: Any = None  # mlflow.MlflowClient, which has no types

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run ``work`` in MLflow's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def prepare(self) -> None:
        """Before anything of MLflow is imported, which reads these settings then."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)  # noqa: TID251

    def client(self) -> Any:
        """The client; only in MLflow's thread."""
        if self._connected is None:
            self.prepare()
            from mlflow import MlflowClient

            self.directory.mkdir(parents=True, exist_ok=True)
            create_database(self.uri)
            self._connected = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._connected


def create_database(uri: str) -> None:
    """Make MLflow's SQLite database, whole or not at all; leave one that is there as it is.

    MLflow commits its tables one by one. Where that stops half-way, or two processes do it at
    once, no later start can use the file, nor complete it.
    """
    if not uri.startswith("sqlite"):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import make_url

    place = Path(make_url(uri).database or "")
    new = place.with_suffix(".new")
    lock = os.open(place.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            new.unlink(missing_ok=True)
            SqlAlchemyStore(f"sqlite:///{new}", ARTIFACT_ROOT).engine.dispose()
            new.rename(place)
    finally:
        os.close(lock)


# No usage reports, no minutes of retries.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
}
