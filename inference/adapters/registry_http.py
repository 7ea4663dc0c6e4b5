"""The registry over HTTP, and what of it was last seen, on disk."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from contracts.manifest import Manifest
from contracts.routing import ReplicaReport, RoutingTable
from inference.ports import RegistryAway

_OK, _NOT_MODIFIED = 200, 304
_MANIFEST_S = 5.0
"""How long a registry that hangs keeps a replica from what it has on its disk."""


class HttpRegistry:
    """Asks the registry; its answers are kept in ``folder`` for the time when it is away."""

    def __init__(self, client: httpx.AsyncClient, folder: Path) -> None:
        self._client = client
        self._folder = folder

    async def _get(self, path: str, **options: object) -> httpx.Response:
        try:
            response = await self._client.get(path, **options)  # type: ignore[arg-type]  # httpx's
        except httpx.HTTPError as away:
            raise RegistryAway(f"{type(away).__name__}") from away
        if response.status_code not in (_OK, _NOT_MODIFIED):
            raise RegistryAway(f"{path} answered {response.status_code}")
        return response

    async def table(self, known: str | None, wait_s: float) -> RoutingTable | None:
        """The routing table; None when its tag is still ``known`` after ``wait_s`` seconds.

        ``known`` None asks for whatever there is, at once.
        """
        response = await self._get(
            "/v1/routing",
            params={"wait_s": 0.0 if known is None else wait_s},
            headers={} if known is None else {"if-none-match": f'"{known}"'},
            timeout=wait_s + 5.0,
        )
        if response.status_code == _NOT_MODIFIED:
            return None
        return _parsed(RoutingTable, response.content)

    async def manifest(self, model: str, version: str, *, kept: bool = False) -> Manifest:
        """A version's manifest; where ``kept`` will do, or the registry is away, from disk.

        A version never changes, but a registry that was restored from a copy may have come to
        another one of that number.
        """
        path = self._folder / "manifests" / f"{model}@{version}.json"
        known = await asyncio.to_thread(_manifest_in, path)
        if known is not None and kept:
            return known
        asked = f"/v1/models/{model}/versions/{version}/manifest"
        try:
            response = await self._get(asked, **({} if known is None else {"timeout": _MANIFEST_S}))
            manifest = _parsed(Manifest, response.content)
        except RegistryAway:
            if known is None:
                raise
            return known
        if manifest != known:
            await asyncio.to_thread(_keep, path, response.content)
        return manifest

    async def download(self, sha256: str) -> AsyncIterator[bytes]:
        """An artifact's bytes."""
        try:
            async with self._client.stream("GET", f"/v1/artifacts/{sha256}") as response:
                if response.status_code != _OK:
                    raise RegistryAway(f"the artifact answered {response.status_code}")
                async for piece in response.aiter_bytes(1 << 20):
                    yield piece
        except httpx.HTTPError as away:
            raise RegistryAway(f"{type(away).__name__}") from away

    async def report(self, report: ReplicaReport) -> None:
        """Say which versions this replica serves."""
        try:
            response = await self._client.put(
                f"/v1/replicas/{report.replica}",
                content=report.model_dump_json(),
                headers={"content-type": "application/json"},
            )
        except httpx.HTTPError as away:
            raise RegistryAway(f"{type(away).__name__}") from away
        if response.is_error:
            raise RegistryAway(f"the report was answered {response.status_code}")

    def last_table(self) -> RoutingTable | None:
        """The table that was last put into effect, or None; blocking."""
        try:
            return RoutingTable.model_validate_json((self._folder / "routing.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    async def keep_table(self, table: RoutingTable) -> None:
        """Keep the table for a start without a registry."""
        content = table.model_dump_json().encode()
        await asyncio.to_thread(_keep, self._folder / "routing.json", content)


def _manifest_in(path: Path) -> Manifest | None:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


_Kind = TypeVar("_Kind", bound=BaseModel)


def _parsed(kind: type[_Kind], content: bytes) -> _Kind:
    try:
        return kind.model_validate_json(content)
    except ValidationError as wrong:
        raise RegistryAway(f"the registry sent no {kind.__name__}") from wrong


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)
