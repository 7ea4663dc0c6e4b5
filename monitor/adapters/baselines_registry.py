"""Manifests and baseline profiles: from the registry once, then from disk."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import orjson
from pydantic import ValidationError

from contracts.manifest import Manifest
from contracts.profile import BaselineProfile
from kit.clock import Clock
from kit.logs import get_logger
from monitor.domain.tally import Layout
from monitor.ports import KnownVersion

_log = get_logger(__name__)

ASK_AGAIN_S = 10.0
VERSIONS_MAX = 2_000
"""Remembered at a time; versions that exist are asked for again, invented names fall out."""


class RegistryBaselines:
    """Port ``Baselines``. A version never changes: what is learned is never asked again."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        folder: Path,
        clock: Clock,
        segment_columns: Sequence[str],
        segments_per_column_max: int,
    ) -> None:
        self._client = client
        self._folder = folder
        self._clock = clock
        self._segment_columns = tuple(segment_columns)
        self._segments_per_column_max = segments_per_column_max
        self._known: OrderedDict[tuple[str, str], KnownVersion] = OrderedDict()
        self._ask_at_ns: dict[tuple[str, str], int] = {}

    def load(self) -> None:
        """What was learned before the restart."""
        for path in sorted(self._folder.glob("*/*.json")):
            try:
                manifest, sha, profile = _parse(orjson.loads(path.read_bytes()))
            except (ValueError, KeyError):  # a torn file; the registry still has it
                _log.warning("baseline_unreadable", file=path.name)
                path.unlink()
                continue
            version = unquote(path.stem)
            self._remember(self._ready(manifest, version, sha, profile))

    def known(self, model: str, version: str) -> KnownVersion:
        """What is known now, without asking anybody."""
        found = self._known.get((model, version))
        return found or KnownVersion(model, version, "unknown")

    def versions(self, model: str | None = None) -> list[KnownVersion]:
        """Every version that exists and was asked about."""
        return [
            version
            for version in self._known.values()
            if version.manifest is not None and model in (None, version.model)
        ]

    async def learn(self, model: str, version: str) -> KnownVersion:
        """Ask the registry where something is missing; at most once in ``ASK_AGAIN_S``."""
        found = self.known(model, version)
        key = (model, version)
        now_ns = self._clock.monotonic_ns()
        if found.state in ("ready", "no_baseline") or now_ns < self._ask_at_ns.get(key, 0):
            return found
        found = await self._ask(model, version)
        self._remember(found)
        if found.state != "ready":
            self._ask_at_ns[key] = now_ns + int(ASK_AGAIN_S * 1e9)
        return found

    async def _ask(self, model: str, version: str) -> KnownVersion:
        path = f"/v1/models/{quote(model, safe='')}/versions/{quote(version, safe='')}/manifest"
        try:
            answer = await self._client.get(path)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return KnownVersion(model, version, "unknown")
            answer.raise_for_status()
            manifest = Manifest.model_validate_json(answer.content)
            entry = manifest.file("baseline.json")
            if entry is None:
                return KnownVersion(model, version, "no_baseline", manifest)
            artifact = await self._client.get(f"/v1/artifacts/{entry.sha256}")
            artifact.raise_for_status()
        except (httpx.HTTPError, ValidationError) as error:
            _log.warning("baseline_not_learned", model=model, version=version, error=str(error))
            return KnownVersion(model, version, "registry_away")
        if sha256(artifact.content).hexdigest() != entry.sha256:
            _log.error("baseline_hash_wrong", model=model, version=version)
            return KnownVersion(model, version, "registry_away", manifest)
        try:
            profile = BaselineProfile.model_validate_json(artifact.content)
        except ValidationError:
            _log.error("baseline_invalid", model=model, version=version)
            return KnownVersion(model, version, "no_baseline", manifest)
        self._keep(manifest, version, entry.sha256, profile)
        return self._ready(manifest, version, entry.sha256, profile)

    def _keep(self, manifest: Manifest, version: str, sha: str, profile: BaselineProfile) -> None:
        folder = self._folder / quote(manifest.model, safe="")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{quote(version, safe='').replace('.', '%2E')}.json"
            partial = path.with_suffix(".partial")
            partial.write_bytes(
                orjson.dumps(
                    {
                        "manifest": manifest.model_dump(mode="json"),
                        "sha256": sha,
                        "profile": profile.model_dump(mode="json"),
                    }
                )
            )
            partial.rename(path)
        except OSError as error:  # memory serves until the disk is back
            _log.warning("baseline_not_kept", model=manifest.model, error=str(error))

    def _ready(
        self, manifest: Manifest, version: str, sha: str, profile: BaselineProfile
    ) -> KnownVersion:
        layout = Layout(sha, profile, self._segment_columns, self._segments_per_column_max)
        return KnownVersion(manifest.model, version, "ready", manifest, layout)

    def _remember(self, found: KnownVersion) -> None:
        key = (found.model, found.version)
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > VERSIONS_MAX:
            oldest, _ = self._known.popitem(last=False)
            self._ask_at_ns.pop(oldest, None)


def _parse(kept: dict[str, object]) -> tuple[Manifest, str, BaselineProfile]:
    manifest = Manifest.model_validate(kept["manifest"])
    return manifest, str(kept["sha256"]), BaselineProfile.model_validate(kept["profile"])
