"""Model files by content, on this machine's disk, brought from the registry when they are new."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4


class ArtifactRefused(ValueError):
    """The bytes are not what the manifest says, or larger than allowed."""


class DiskArtifacts:
    """Every reading verifies the sha256: a file that rotted is brought again, never served."""

    def __init__(
        self, folder: Path, download: Callable[[str], AsyncIterator[bytes]], bytes_max: int
    ) -> None:
        self._folder = folder
        self._download = download
        self._bytes_max = bytes_max

    async def bring(self, sha256: str, size_bytes: int) -> bytes:
        """The verified bytes. Raises ``ArtifactRefused``, or what the download raises."""
        if size_bytes > self._bytes_max:
            raise ArtifactRefused(f"{size_bytes} bytes are more than {self._bytes_max} allowed")
        kept = await asyncio.to_thread(self._read, sha256)
        if kept is not None:
            return kept
        pieces, size = [], 0
        async for piece in self._download(sha256):
            pieces.append(piece)
            size += len(piece)
            if size > size_bytes:
                raise ArtifactRefused("the registry sends more bytes than the manifest says")
        content = b"".join(pieces)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ArtifactRefused("the bytes do not have the sha256 that the manifest says")
        await asyncio.to_thread(self._write, sha256, content)
        return content

    def _read(self, sha256: str) -> bytes | None:
        path = self._folder / sha256
        try:
            if path.is_symlink() or path.stat().st_nlink != 1:
                return None
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def _write(self, sha256: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._folder / f".{sha256}.{uuid4().hex}"
        with fresh.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        fresh.replace(self._folder / sha256)
