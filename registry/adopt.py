"""Adopt: what an MLflow run logged becomes a manifest and staged files, to publish like any upload.

A run's ``manifest.json`` (a bundle that was logged whole) is taken as it is, with the sha256 of
every file; without one, the graph is for the Open Inference Protocol only. What the run says of
its training fills what the manifest leaves out; what the caller gives comes before both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.completeness import MODEL_FILE
from registry.ports import ArtifactStore, LoggedRun, RunSource, StagedFile

MANIFEST_FILE = "manifest.json"
MANIFEST_BYTES_MAX = 8 * 1024 * 1024
_BARE: Mapping[str, Any] = {"task": "raw", "tensors": {"layout": "raw"}}


@dataclass(frozen=True, slots=True)
class Adopt:
    """Reads runs."""

    runs: RunSource
    artifacts: ArtifactStore

    async def __call__(
        self, model: str, run_id: str, artifact: str, given: Mapping[str, Any]
    ) -> tuple[bytes, tuple[StagedFile, ...]]:
        """The manifest as JSON, and the files. Raises ``Problem``; then nothing stays staged."""
        staged: list[StagedFile] = []
        try:
            async with self.runs(run_id, artifact) as run:
                if MODEL_FILE not in run.files:
                    raise _modelless(artifact, run)
                manifest = _manifest(model, run, given)
                for path, place in run.files.items():
                    if path != MANIFEST_FILE:
                        staged.append(await self.artifacts.take(path, place))
        except BaseException:
            await self.artifacts.discard(staged)
            raise
        return orjson.dumps(manifest), tuple(staged)


def _manifest(model: str, run: LoggedRun, given: Mapping[str, Any]) -> dict[str, Any]:
    place = run.files.get(MANIFEST_FILE)
    logged = dict(_BARE) if place is None else _parsed(place)
    training = dict(run.training)
    for said in (logged.get("training"), given.get("training")):
        training |= said if isinstance(said, dict) else {}
    # The model's name is the path's, unless somebody says another; then publishing refuses it.
    return {"model": model, **logged, **given, "training": training}


def _parsed(place: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(place.read_bytes() if _fits(place) else b"")
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Problem(ProblemCode.INVALID_INPUT, "The run's manifest.json is not a JSON object.")
    return found


def _fits(place: Path) -> bool:
    return place.stat().st_size <= MANIFEST_BYTES_MAX


def _modelless(artifact: str, run: LoggedRun) -> Problem:
    found = ", ".join(sorted(run.files)[:5])
    instead = f", but {found}" if found else ""
    return Problem(
        ProblemCode.INVALID_INPUT,
        f"The run logged no {MODEL_FILE} under {artifact!r}{instead}. Log the ONNX graph "
        "(mlflow.onnx.log_model) or a whole bundle (mlflow.log_artifacts).",
        missing=[f"file {MODEL_FILE}"],
    )
