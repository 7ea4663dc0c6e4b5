"""Keeps what is loaded equal to what the routing table wants; serving never waits for it."""

import asyncio
import contextlib
from collections.abc import Mapping
from concurrent.futures import Executor
from secrets import token_hex

from contracts.manifest import Manifest
from contracts.routing import ReplicaReport, RoutingTable, VersionState
from inference.domain.fleet import Fleet, LoadedVersion, fleet_of
from inference.follow import Follow
from inference.ports import Artifacts, Builder, Registry, RegistryAway, Trials
from kit.logs import get_logger

_log = get_logger(__name__)
Key = tuple[str, str]
_FILES = ("model.onnx", "golden.json")
_RETRY_S, _RETRY_GROWTH_MAX = 5.0, 12
"""What is refused for what it is stays so: to build it again and again would cost a core."""


class Load:
    """Loads aside, verifies, warms, and then replaces the fleet as one value.

    A version that cannot be loaded keeps its model on the route it had, and says why in the
    report. Versions that no table names are closed once no batch holds them.
    """

    def __init__(
        self,
        *,
        replica: str,
        push_url: str | None,
        follow: Follow,
        registry: Registry,
        artifacts: Artifacts,
        builder: Builder,
        trials: Trials,
        executor: Executor,
        report_every_s: float,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._replica = replica
        self._push_url = push_url
        self._follow = follow
        self._registry = registry
        self._artifacts = artifacts
        self._builder = builder
        self._trials = trials
        self._executor = executor
        self._report_every_s = report_every_s
        self._retry_s = retry_s
        self._boot = token_hex(8)
        self._kept: str | None = None
        """Tag of the table on disk."""
        self._report_now = asyncio.Event()
        self.in_effect = asyncio.Event()
        """Set once there is a table that is served by."""
        self._draining: list[LoadedVersion] = []
        self.states: dict[Key, VersionState] = {}
        self.fleet = Fleet()

    def missing(self) -> list[str]:
        """What is not there yet; empty when every wanted model is served."""
        if self._follow.table is None:
            return ["no routing table yet"]
        return [self._lacking(name) for name in sorted(self.fleet.missing)]

    def _lacking(self, model: str) -> str:
        reasons = [one.reason for one in self.states.values() if one.model == model and one.reason]
        return ": ".join([f"model {model} is not loaded", *reasons[:1]])

    async def start(self) -> None:
        """Serve by the last good table while the registry is asked for a newer one."""
        table = await asyncio.to_thread(self._registry.last_table)
        if table is not None:
            self._follow.offer(table)
            await self.apply(kept=True)

    async def reconcile(self) -> None:
        """Put each new table into effect, and try again what failed, less and less often."""
        growth = 1
        while True:
            failed = any(state.state == "failed" for state in self.states.values())
            try:
                async with asyncio.timeout(growth * self._retry_s if failed else None):
                    await self._follow.changed.wait()
                growth = 1
            except TimeoutError:
                # Without the registry nothing has been looked at yet.
                growth = 1 if self._follow.away else min(2 * growth, _RETRY_GROWTH_MAX)
            await self.apply()

    async def report_for_ever(self) -> None:
        """Tell the registry what is served: at every change, and every few seconds."""
        while True:
            with contextlib.suppress(RegistryAway):  # ``Follow`` says so
                await self._registry.report(self.report())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._report_every_s):
                    await self._report_now.wait()
            self._report_now.clear()
            self._close_drained()

    async def leave(self) -> None:
        """Tell the registry that this process stops because it was asked to, and did not crash."""
        self._trials.close()
        with contextlib.suppress(RegistryAway):
            await self._registry.report(self.report().model_copy(update={"stopping": True}))

    def report(self) -> ReplicaReport:
        """What this replica serves now."""
        states = {**self.states}
        for loaded in self._draining:
            key = (loaded.model, loaded.version)
            states.setdefault(key, VersionState(model=key[0], version=key[1], state="draining"))
        return ReplicaReport(
            replica=self._replica,
            epoch=self.fleet.epoch,
            versions=tuple(states.values()),
            push_url=self._push_url,
            boot=self._boot,
        )

    async def apply(self, *, kept: bool = False) -> None:
        """Load what the wanted table lacks, then flip to it; ``kept``: from disk, where it is."""
        table = self._follow.table
        self._follow.changed.clear()
        if table is None:
            return
        wanted = {
            (model, version): None
            for model, route in table.models.items()
            for version in route.versions()
        }
        loaded: dict[Key, LoadedVersion] = {}
        for key in wanted:
            have = self.fleet.versions.get(key)
            one = have if have is not None else await self._load(key, kept=kept)
            if one is not None:
                loaded[key] = one
        self.states = {key: state for key, state in self.states.items() if key in wanted}
        before = self.fleet
        self.fleet = fleet_of(table, loaded, before)
        changed = (self.fleet.epoch, self.fleet.missing) != (before.epoch, before.missing)
        self._retire(before)
        self._report_now.set()
        self.in_effect.set()
        if table.tag != self._kept:  # also with a model that nobody could load
            await self._keep(table)
        if changed:  # not at every try to load what failed
            _log.info("routing_applied", epoch=table.epoch, missing=sorted(self.fleet.missing))

    async def _keep(self, table: RoutingTable) -> None:
        try:
            await self._registry.keep_table(table)
        except OSError as refused:  # a full disk, perhaps: what is served is served all the same
            _log.error("table_not_kept", epoch=table.epoch, reason=refused.strerror)
        else:
            self._kept = table.tag

    async def _load(self, key: Key, *, kept: bool) -> LoadedVersion | None:
        model, version = key
        before = self.states.get(key)
        self.states[key] = VersionState(model=model, version=version, state="loading")
        self._report_now.set()
        try:
            manifest = await self._registry.manifest(model, version, kept=kept)
            files = await self._files(manifest)
            loop = asyncio.get_running_loop()
            loaded = await loop.run_in_executor(
                self._executor, self._build, manifest, version, files
            )
        except (RegistryAway, ValueError, LookupError, OSError) as failed:
            state = VersionState(
                model=model, version=version, state="failed", reason=str(failed)[:500]
            )
            self.states[key] = state
            if before != state:
                _log.warning("version_not_loaded", model=model, version=version, reason=str(failed))
            return None
        self.states[key] = VersionState(model=model, version=version, state="ready")
        return loaded

    def _build(self, manifest: Manifest, version: str, files: Mapping[str, bytes]) -> LoadedVersion:
        """Blocking. Raises ``ValueError`` whatever goes wrong.

        The graph is the world's: one that trips the builder is refused like any other. It may not
        keep this replica from every other change of routing.
        """
        entry = manifest.file("model.onnx")
        assert entry is not None
        try:
            with self._trials.begin(entry.sha256):
                return self._builder.build(manifest, version, files)
        except ValueError:
            raise
        except Exception as tripped:
            _log.exception("builder_tripped", model=manifest.model, version=version)
            raise ValueError(
                f"it could not be built: {type(tripped).__name__} {tripped}".rstrip()
            ) from tripped

    async def _files(self, manifest: Manifest) -> dict[str, bytes]:
        files = {}
        for path in _FILES:
            entry = manifest.file(path)
            if entry is not None:
                files[path] = await self._artifacts.bring(entry.sha256, entry.size_bytes)
        if "model.onnx" not in files:
            raise ValueError("the manifest names no model.onnx")
        return files

    def _retire(self, before: Fleet) -> None:
        kept = set(map(id, self.fleet.versions.values()))
        self._draining += [one for one in before.versions.values() if id(one) not in kept]
        self._close_drained()

    def _close_drained(self) -> None:
        for loaded in [one for one in self._draining if not one.in_use]:
            loaded.engine.close()
            self._draining.remove(loaded)
