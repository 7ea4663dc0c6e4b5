"""What travels to the registry: the manifest and its files."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from contracts.manifest import FileEntry, Manifest
from leadline.client import Client


@dataclass(frozen=True, slots=True)
class Bundle:
    """A complete model version, before it has a number."""

    manifest: Manifest
    files: dict[str, bytes]
    """By path: ``model.onnx``, ``baseline.json``, ``golden.json``, ``parity.json``, ..."""

    def write(self, folder: Path) -> None:
        """Write the files and ``manifest.json`` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            (folder / path).write_bytes(content)
        (folder / "manifest.json").write_text(self.manifest.model_dump_json(indent=2) + "\n")

    def send(self, client: Client, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Publish. Returns the registry's ``{"model", "version", "digest", ...}``; raises
        ``ProblemError`` with the list of what is missing when it is refused."""
        parts = [("manifest", (None, self.manifest.model_dump_json(), "application/json"))]
        parts += [
            (path, (path, content, "application/octet-stream"))  # type: ignore[misc]
            for path, content in self.files.items()
        ]
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        model = self.manifest.model
        answer = client.send("POST", f"/v1/models/{model}/versions", files=parts, headers=headers)
        said = answer.json()
        assert isinstance(said, dict)
        return said


def entries(files: dict[str, bytes]) -> tuple[FileEntry, ...]:
    """Each file by its content."""
    return tuple(
        FileEntry(path=path, sha256=sha256(content).hexdigest(), size_bytes=len(content))
        for path, content in files.items()
    )
