"""MLflow's own database is whole or not there, whatever happens to who makes it."""

import asyncio
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from registry.adapters.connection_mlflow import MlflowConnection
from tests.polling import until

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, while it is imported

CREATE = "from registry.adapters.connection_mlflow import create_database as c; c('{uri}')"


async def test_a_kill_while_the_database_is_made_leaves_one_that_the_next_can_make(
    tmp_path: Path,
) -> None:
    place = tmp_path / "mlflow.db"
    uri = f"sqlite:///{place}"
    killed = subprocess.Popen([sys.executable, "-c", CREATE.format(uri=uri)])
    await until(lambda: has_tables(place.with_suffix(".new")), limit_s=60)
    beside = subprocess.Popen([sys.executable, "-c", CREATE.format(uri=uri)])
    killed.kill()
    killed.wait()

    with ThreadPoolExecutor(1) as executor:
        connection = MlflowConnection(uri, tmp_path, executor)
        default = await connection.off_loop(lambda: connection.client().get_experiment("0"))
        assert default.artifact_location == "mlflow-artifacts:/0"
        assert await asyncio.to_thread(beside.wait, 60) == 0
        assert await connection.off_loop(lambda: connection.client().search_experiments())


def has_tables(database: Path) -> bool:
    """Whether there are any yet."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT name FROM sqlite_master").fetchall())
