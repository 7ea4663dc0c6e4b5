"""Artifacts on disk, written once and never changed.

``<directory>/<first two hex digits>/<sha256>``; what still arrives lies in ``staging``.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from shutil import move
from tempfile import mkstemp
from typing import TypeVar

from contracts.manifest import FileEntry
from contracts.problems import ProblemCode
from kit.durable import sync_folder
from kit.problems import Problem
from registry.ports import StagedFile

T = TypeVar("T")


class DiskArtifacts:
    """See ``registry.ports.ArtifactStore``."""

    def __init__(self, directory: Path, bytes_max: int, executor: Executor) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._executor = executor

    async def stage(self, path: str, chunks: AsyncIterator[bytes]) -> StagedFile:
        """Write aside and hash; the size is checked while bytes come in."""
        staging = self._directory / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        descriptor, name = mkstemp(dir=staging)
        digest, size = sha256(), 0
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._bytes_max:
                        raise _too_large(self._bytes_max)
                    digest.update(chunk)
                    await self._off_loop(partial(file.write, chunk))
                await self._off_loop(lambda: _flush(file.fileno(), file.flush))
        except BaseException:
            os.unlink(name)  # at once: a cancelled upload must not wait for a thread
            raise
        entry = FileEntry(path=path, sha256=digest.hexdigest(), size_bytes=size)
        return StagedFile(Path(name), entry)

    async def take(self, path: str, place: Path) -> StagedFile:
        """Move a file of this machine aside and hash it."""
        return await self._off_loop(partial(self._take, path, place))

    def _take(self, path: str, place: Path) -> StagedFile:
        staging = self._directory / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        size = place.stat().st_size
        if size > self._bytes_max:
            raise _too_large(self._bytes_max)
        descriptor, name = mkstemp(dir=staging)
        os.close(descriptor)
        move(place, name)
        with Path(name).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return StagedFile(Path(name), FileEntry(path=path, sha256=digest, size_bytes=size))

    async def keep(self, staged: Sequence[StagedFile]) -> None:
        """Move each under its hash and make the directory entry durable."""
        for file in staged:
            await self._off_loop(partial(self._keep, file))

    def _keep(self, staged: StagedFile) -> None:
        target = self._place(staged.entry.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.path.chmod(0o444)
        staged.path.replace(target)
        sync_folder(target.parent)

    async def discard(self, staged: Sequence[StagedFile]) -> None:
        """Forget what was staged; what was kept meanwhile stays."""
        for file in staged:
            await self._off_loop(partial(file.path.unlink, missing_ok=True))

    def locate(self, sha256: str) -> Path | None:
        """The file with that content, or None."""
        place = self._place(sha256)
        return place if place.is_file() else None

    def _place(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _too_large(bytes_max: int) -> Problem:
    return Problem(ProblemCode.CONTENT_TOO_LARGE, f"One file may have {bytes_max} bytes.")


def _flush(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)
