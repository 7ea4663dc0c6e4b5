"""A model version as the registry keeps it: its manifest, where it stands, who put it there."""

from hashlib import sha256

import orjson
from pydantic import BaseModel, ConfigDict

from contracts.manifest import Manifest
from registry.domain.lifecycle import State
from registry.domain.signature import Signature


class VersionRecord(BaseModel):
    """One row of the registry. ``revision`` grows with every change; it is the ETag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    state: State
    manifest: Manifest
    digest: str
    """sha256 of the manifest's canonical JSON, and so of every file by its hash."""
    published_by: str
    published_us: int
    published_wall_us: int
    since_us: int
    """Business time of the last state change."""
    reason: str = ""
    """Why it stands where it stands."""
    revision: int = 1
    signature: Signature | None = None
    """Of ``model.onnx``; None of a version that an earlier build took."""
    mlflow_version: str | None = None
    """Its number in MLflow, once mirrored."""

    @property
    def name(self) -> str:
        """``model/version``."""
        return f"{self.model}/{self.version}"

    @property
    def classes(self) -> int:
        """How many classes a classification tells apart; 0 where neither names nor graph say."""
        width = self.signature.width(self.manifest.tensors.probability) if self.signature else 0
        return max(len(self.manifest.post_processing.labels), width)

    def moved(self, state: State, at_us: int, reason: str) -> "VersionRecord":
        """The record after a state change."""
        return self.model_copy(
            update={
                "state": state,
                "since_us": at_us,
                "reason": reason,
                "revision": self.revision + 1,
            }
        )


def manifest_digest(manifest: Manifest) -> str:
    """sha256 of the canonical JSON (sorted keys, no white space)."""
    return sha256(manifest_json(manifest)).hexdigest()


def manifest_json(manifest: Manifest) -> bytes:
    """The canonical JSON that is hashed and stored."""
    return orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
