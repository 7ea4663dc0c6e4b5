"""Every knob of the feature store."""

from pathlib import Path

from pydantic import Field

from kit.settings import CommaList, ServiceSettings


class FeatureStoreSettings(ServiceSettings):
    """Read once in ``__main__``."""

    namespace: str = Field(
        default="ll", pattern="^[a-z0-9_-]{1,32}$", description="First part of every Redis key."
    )
    log_sync: bool = Field(
        default=True,
        description="Wait for the disk before a push is acknowledged. Off, a power failure may "
        "lose what was acknowledged; a killed process never does.",
    )
    read_timeout_ms: float = Field(default=50.0, gt=0, description="Longest online look-up.")
    write_timeout_ms: float = Field(
        default=5000.0, gt=0, description="Longest trip of the applier, a thousand commands."
    )
    arrow_bytes_max: int = Field(
        default=256 * 1024 * 1024, ge=1024, description="Largest Arrow body of a push."
    )
    rows_per_push_max: int = Field(default=10_000, ge=1, description="Rows of one JSON push.")
    applied_wait_s: float = Field(
        default=30.0, gt=0, le=300, description="Longest wait of a push with wait=applied."
    )
    job_rows_max: int = Field(default=5_000_000, ge=1, description="Rows of one historical job.")
    jobs_kept_max: int = Field(default=32, ge=1, description="Finished jobs kept, newest first.")
    verify_every_s: float = Field(
        default=30.0, gt=0, description="Pause between two comparisons of Redis with the log."
    )
    served_streams: CommaList = Field(
        default=("ll:served",),
        description="Partitions of the served log whose sampled rows are verified; none: no such.",
    )
    replay_every_s: float = Field(
        default=2.0, gt=0, description="Pause between two looks for newly served rows."
    )
    duckdb_from_bytes: int = Field(
        default=2 * 1024**3,
        ge=0,
        description="Historical joins over more log than this run in DuckDB, which may spill.",
    )

    @property
    def directory(self) -> Path:
        """Where the feature store may write."""
        return self.state_dir / "feature_store"
