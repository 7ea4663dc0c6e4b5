"""Take stock: are the files there that the versions are made of?

A database and its files are two stores, and may come from two copies. What serves goes on from the
replicas' own disks, so nobody would notice before a version is to be loaded.
"""

import asyncio
from dataclasses import dataclass

from kit.logs import get_logger
from registry.domain.version import VersionRecord
from registry.metrics import FILES_MISSING
from registry.ports import ArtifactStore, Ledger

_log = get_logger(__name__)
VERSIONS_TOLD_MAX = 20


@dataclass(frozen=True, slots=True)
class TakeStock:
    """Counts what is missing; by size, for hashing everything would read everything."""

    ledger: Ledger
    artifacts: ArtifactStore

    async def __call__(self) -> None:
        """Tell by metric and log; the log names the versions."""
        records = await self.ledger.read(lambda tx: tx.versions())
        lacking = await asyncio.to_thread(lambda: {one.name: self._lacks(one) for one in records})
        FILES_MISSING.set(sum(lacking.values()))
        if missing := sorted(name for name, files in lacking.items() if files):
            told = missing[:VERSIONS_TOLD_MAX]
            _log.error("version_files_missing", versions=told, in_all=len(missing))

    def _lacks(self, record: VersionRecord) -> int:
        """How many of its files."""
        places = [(file, self.artifacts.locate(file.sha256)) for file in record.manifest.files]
        return sum(
            place is None or place.stat().st_size != file.size_bytes for file, place in places
        )
