"""Historical retrieval as a job: accepted at once, joined on a thread, fetched when it is done."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from kit.logs import get_logger

_log = get_logger(__name__)

State = Literal["waiting", "running", "done", "failed"]
Format = Literal["arrow", "parquet"]
Join = Callable[[Callable[[int, int], None]], pa.Table]
"""Does the work; tells its progress as (views joined, views in all)."""
JOBS_WAITING_MAX = 16


class TooManyJobs(RuntimeError):
    """So many jobs wait already that another would not begin soon."""


@dataclass(slots=True)
class Job:
    """One retrieval."""

    id: str
    format: Format
    rows: int
    state: State = "waiting"
    progress: float = 0.0
    """Share of the views that are joined, 0 to 1."""
    error: str = ""
    path: Path | None = None


class Jobs:
    """Runs retrievals one after another and keeps the files of the latest."""

    def __init__(self, folder: Path, executor: Executor, kept_max: int) -> None:
        self._folder = folder
        self._executor = executor
        self._kept_max = kept_max
        self._jobs: dict[str, Job] = {}

    def get(self, job_id: str) -> Job | None:
        """The job of that id, if it is still kept."""
        return self._jobs.get(job_id)

    def start(self, join: Join, rows: int, file_format: Format) -> Job:
        """Queue a retrieval. Raises ``TooManyJobs``."""
        waiting = sum(job.state in ("waiting", "running") for job in self._jobs.values())
        if waiting >= JOBS_WAITING_MAX:
            raise TooManyJobs
        job = Job(uuid4().hex, file_format, rows)
        self._jobs[job.id] = job
        self._forget_oldest()
        asyncio.get_running_loop().run_in_executor(self._executor, self._run, job, join)
        return job

    def _forget_oldest(self) -> None:
        finished = [job for job in self._jobs.values() if job.state in ("done", "failed")]
        for job in finished[: max(0, len(finished) - self._kept_max)]:
            del self._jobs[job.id]
            if job.path is not None:
                job.path.unlink(missing_ok=True)

    def _run(self, job: Job, join: Join) -> None:
        job.state = "running"

        def progress(done: int, of: int) -> None:
            job.progress = done / of

        try:
            table = join(progress)
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{job.id}.{job.format}"
            if job.format == "parquet":
                pq.write_table(table, path, compression="zstd")
            else:
                with pa.ipc.new_stream(str(path), table.schema) as writer:
                    writer.write_table(table)
        except Exception as error:  # noqa: BLE001 - the job is an edge: its asker is told
            _log.exception("historical_job_failed", job=job.id)
            job.error, job.state = f"{type(error).__name__}: {error}", "failed"
            return
        job.path, job.progress, job.state = path, 1.0, "done"
