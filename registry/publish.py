"""Publish: a manifest and its files become a version, or are refused with everything wrong."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError

from contracts.fillable import unfillable
from contracts.identity import Caller
from contracts.manifest import Manifest
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act
from registry.domain.completeness import advice_for, missing_from
from registry.domain.lifecycle import State
from registry.domain.numbers import numbers_in
from registry.domain.signature import Signature
from registry.domain.version import VersionRecord, manifest_digest
from registry.metrics import PUBLISHED
from registry.ports import ArtifactStore, Inspector, Ledger, Once, StagedFile, Transaction


@dataclass(frozen=True, slots=True)
class Publish:
    """Turns what arrived into a version. ``published`` is called once one is there."""

    ledger: Ledger
    artifacts: ArtifactStore
    inspector: Inspector
    published: Callable[[], None]
    wall_us: Callable[[], int]

    async def __call__(
        self,
        model: str,
        manifest_json: bytes,
        files: Sequence[StagedFile],
        caller: Caller,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """The answer to the publisher. Raises ``Problem``; then nothing is kept."""
        try:
            answer = await self._publish(model, manifest_json, files, caller, once, dry_run)
        except Problem as problem:
            PUBLISHED.labels(problem.code.value).inc()
            raise
        finally:
            await self.artifacts.discard(files)
        PUBLISHED.labels("dry_run" if dry_run else "published").inc()
        self.published()
        return answer

    async def _publish(
        self,
        model: str,
        manifest_json: bytes,
        files: Sequence[StagedFile],
        caller: Caller,
        once: Once | None,
        dry_run: bool,
    ) -> dict[str, Any]:
        manifest = _understood(manifest_json, model)
        paths = [file.entry.path for file in files]
        if missing := missing_from(manifest, paths):
            raise _incomplete(missing)
        _check_claims(manifest, files)
        found = await self.inspector(manifest, files)
        if faults := unfillable(manifest) + found.faults:
            raise Problem(ProblemCode.INVALID_INPUT, "; ".join(faults[:3]) + ".", faults=faults)
        entries = tuple(sorted((file.entry for file in files), key=lambda entry: entry.path))
        manifest = manifest.model_copy(update={"files": entries})
        if not dry_run:
            await self.artifacts.keep(files)
        return await self.ledger.write_once(
            _about(once, manifest),
            lambda tx: self._add(tx, manifest, found.signature, caller, advice_for(paths)),
            dry_run=dry_run,
        )

    def _add(
        self,
        tx: Transaction,
        manifest: Manifest,
        signature: Signature | None,
        caller: Caller,
        advice: list[str],
    ) -> dict[str, Any]:
        digest = manifest_digest(manifest)
        versions = tx.versions(manifest.model)
        same = next((record for record in versions if record.digest == digest), None)
        if same is not None:
            return _answer(same, advice) | {"existing": True}
        taken = numbers_in(record.version for record in versions)
        record = VersionRecord(
            model=manifest.model,
            version=str(tx.next_number("versions", manifest.model, taken, digest)),
            state=State.CANDIDATE,
            manifest=manifest,
            digest=digest,
            published_by=caller.principal,
            published_us=tx.now_us(),
            published_wall_us=self.wall_us(),
            since_us=tx.now_us(),
            reason="published",
            signature=signature,
        )
        tx.add_version(record)
        tx.record(
            Act(
                actor=caller.principal,
                action="version.published",
                model=record.model,
                subject=record.name,
                after={"state": record.state.value, "digest": digest},
            )
        )
        return _answer(record, advice)


def _about(once: Once | None, manifest: Manifest) -> Once | None:
    """The key stands for the content, which was streamed and so is not in the request's digest."""
    if once is None:
        return None
    asked = f"{once.request_digest}{manifest_digest(manifest)}"
    return replace(once, request_digest=sha256(asked.encode()).hexdigest())


def _answer(record: VersionRecord, advice: list[str]) -> dict[str, Any]:
    return {
        "model": record.model,
        "version": record.version,
        "digest": record.digest,
        "state": record.state.value,
        "revision": record.revision,
        "files": [entry.model_dump() for entry in record.manifest.files],
        "advice": advice,
    }


def _understood(manifest_json: bytes, model: str) -> Manifest:
    _check_numbers(manifest_json)
    try:
        manifest = Manifest.model_validate_json(manifest_json)
    except ValidationError as invalid:
        errors = invalid.errors(include_input=False, include_url=False)
        missing = [".".join(map(str, e["loc"])) for e in errors if e["type"] == "missing"]
        wrong = [
            {"pointer": "/" + "/".join(map(str, e["loc"])), "code": e["type"].replace("_", "-")}
            for e in errors
            if e["type"] != "missing"
        ]
        if not wrong:
            raise _incomplete(missing) from invalid
        where = ", ".join(error["pointer"] for error in wrong[:3])
        raise Problem(
            ProblemCode.INVALID_INPUT,
            f"The manifest is not as its schema wants it: {where}.",
            errors=wrong,
            missing=missing,
        ) from invalid
    if manifest.model != model:
        raise Problem(ProblemCode.INVALID_INPUT, "The manifest names another model than the path.")
    return manifest


def _check_numbers(manifest_json: bytes) -> None:
    """Only what JSON has: a NaN or an infinity could be stored, and never be read again."""
    try:
        json.dumps(orjson.loads(manifest_json), allow_nan=False)
    except ValueError as torn:
        raise Problem(
            ProblemCode.INVALID_INPUT,
            "The manifest is not JSON (UTF-8, finite numbers; no NaN, no Infinity).",
        ) from torn


def _incomplete(missing: list[str]) -> Problem:
    return Problem(
        ProblemCode.INVALID_INPUT,
        f"A version needs, and this one lacks: {', '.join(missing)}.",
        missing=missing,
    )


def _check_claims(manifest: Manifest, files: Sequence[StagedFile]) -> None:
    """Where the manifest already lists files, what arrived must be exactly those."""
    arrived = {file.entry.path: file.entry for file in files}
    claimed = {entry.path: entry for entry in manifest.files}
    if not claimed:
        return
    differing = sorted(
        path for path in arrived.keys() | claimed.keys() if arrived.get(path) != claimed.get(path)
    )
    if differing:
        raise Problem(
            ProblemCode.INVALID_INPUT,
            f"These files are not the ones the manifest lists by sha256: {', '.join(differing)}.",
        )
