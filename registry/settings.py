"""Every knob of the registry."""

from pathlib import Path

from pydantic import Field

from kit.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """Read once in ``__main__``."""

    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the registry's own tables; None is SQLite in the state "
        "directory. Several copies of the registry need one PostgreSQL.",
    )
    mlflow_uri: str | None = Field(
        default=None, description="MLflow's tracking URI; None is SQLite in the state directory."
    )
    artifact_bytes_max: int = Field(
        default=512 * 1024 * 1024,
        ge=1024,
        description="All files of one version together; they are streamed to disk.",
    )
    artifact_files_max: int = Field(default=32, ge=1, le=256)
    long_poll_s_max: float = Field(
        default=30.0, ge=0, le=60, description="Longest wait of GET /v1/routing?wait_s="
    )
    replica_live_s: float = Field(
        default=10.0,
        gt=0,
        description="A replica that has not reported for so long no longer counts as live.",
    )
    push_timeout_s: float = Field(
        default=0.5, gt=0, description="A replica that takes longer gets the table by its poll."
    )
    tick_s: float = Field(
        default=1.0, gt=0, le=60, description="Pause between two looks of the rollout controller."
    )
    lease_s: float = Field(
        default=10.0,
        ge=2,
        description="A copy of the registry that is silent for so long loses the controller.",
    )
    mirror_s: float = Field(
        default=5.0, gt=0, description="Pause between two comparisons with MLflow's aliases."
    )
    evidence_timeout_s: float = Field(
        default=15.0, gt=0, description="Longer, and the monitor counts as away: weights freeze."
    )
    four_eyes: bool = Field(
        default=False,
        description="Whoever published a version may neither promote it nor approve its rollout, "
        "and every rollout needs approval before its last step.",
    )
    webhook_private_addresses: bool = Field(
        default=False, description="Allow webhooks to loopback and private networks."
    )
    webhook_timeout_s: float = Field(default=5.0, gt=0, le=30)

    @property
    def directory(self) -> Path:
        """Where the registry may write."""
        return self.state_dir / "registry"

    @property
    def database(self) -> str:
        """The URL of the registry's own tables."""
        return self.database_url or f"sqlite:///{self.directory.absolute() / 'registry.db'}"

    @property
    def mlflow_tracking(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow_uri or f"sqlite:///{self.mlflow_directory.absolute() / 'mlflow.db'}"

    @property
    def mlflow_directory(self) -> Path:
        """Where embedded MLflow keeps its database and artifacts."""
        return self.state_dir / "mlflow"
