"""What a manifest must say before a version may exist; refusals list everything that is missing."""

from collections.abc import Iterable
from datetime import datetime

from contracts.manifest import Manifest, TrainingMetadata

MODEL_FILE = "model.onnx"

_ADVISED = {
    "baseline.json": "drift and quality cannot be judged against the training data",
    "golden.json": "loading cannot prove that answers are still right",
    "parity.json": "nothing shows that the export answers as the original did",
}


def missing_from(manifest: Manifest, paths: Iterable[str]) -> list[str]:
    """Dotted names of what is required and absent; ``paths`` are the files that came along."""
    missing = [] if MODEL_FILE in set(paths) else [f"file {MODEL_FILE}"]
    if manifest.training is None:
        missing += [f"training.{name}" for name in TrainingMetadata.model_fields]
    else:
        missing += _hollow(manifest.training)
    if manifest.feature_service is not None:
        missing += [
            name
            for name in ("feature_fingerprint", "feature_service_json")
            if getattr(manifest, name) is None
        ]
    if manifest.task != "raw":
        missing += [] if manifest.inputs else ["inputs"]
        outputs = manifest.tensors.probability or manifest.tensors.value
        missing += [] if outputs else ["tensors.probability or tensors.value"]
    return missing


def _hollow(training: TrainingMetadata) -> list[str]:
    """Required texts that are there and say nothing."""
    texts = ("dataset_name", "dataset_version", "trained_at", "git_commit")
    hollow = [f"training.{name}" for name in texts if not getattr(training, name).strip()]
    if training.trained_at.strip() and not _is_instant(training.trained_at):
        hollow.append("training.trained_at as ISO 8601 with its offset (2026-11-20T10:00:00Z)")
    return hollow if training.metrics else [*hollow, "training.metrics"]


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def advice_for(paths: Iterable[str]) -> list[str]:
    """What may be absent, and what its absence costs."""
    present = set(paths)
    return [f"without {path}, {cost}" for path, cost in _ADVISED.items() if path not in present]
