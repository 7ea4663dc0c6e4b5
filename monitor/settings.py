"""Every knob of the monitor."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from kit.settings import CommaList, ServiceSettings


class MonitorSettings(ServiceSettings):
    """Read once in ``__main__``; frozen."""

    streams: CommaList = Field(
        default=("ll:served",),
        description="Partitions of the served log that this process reads.",
    )
    consumer: str = Field(
        default="monitor-0",
        min_length=1,
        max_length=64,
        description="Name within the consumer group; stable, so that a restart finds its pending.",
    )
    read_entries_max: int = Field(
        default=2_000, ge=1, le=100_000, description="Entries of one command to Redis, at most."
    )
    read_fill_bytes: int = Field(
        default=8 << 20,
        ge=64 << 10,
        le=64 << 20,
        description="About as much is read at a time, whatever the entries' size; bounds memory.",
    )
    read_block_ms: int = Field(default=250, ge=1, le=10_000)
    redis_timeout_ms: int = Field(
        default=5_000, ge=500, description="Above the block time of a read, below a human's."
    )
    idle_claim_s: float = Field(
        default=60.0, ge=1, description="Entries that another consumer left this long are taken."
    )
    deliveries_max: int = Field(
        default=5, ge=1, description="An entry that failed this often is buried, not tried again."
    )
    trim_every_s: float = Field(
        default=30.0, gt=0, description="How often the acknowledged head of the stream is cut."
    )
    future_tolerance_s: float = Field(
        default=3_600.0, ge=0, description="Events dated further ahead are stored, not counted."
    )
    segment_columns: CommaList = Field(
        default=(),
        description="Categorical columns to watch by value; none: string columns with few values.",
    )
    segments_per_column_max: int = Field(default=8, ge=2, le=64)
    rows_min: int = Field(
        default=200, ge=1, description="Below it a window is INSUFFICIENT_DATA, not OK."
    )
    completeness_min: float = Field(
        default=0.8, gt=0, le=1, description="Weekly accuracy is not judged below this share."
    )
    label_due_h: float = Field(
        default=24.0, gt=0, description="A label that has not come after this long is overdue."
    )
    quality_floors: CommaList = Field(
        default=(),
        description="MODEL:METRIC=LIMIT, comma separated; * is every model, the metric accuracy, "
        "auc, brier, log_loss, mae or rmse. A day wholly beyond it, with its interval, pages.",
    )
    known_days: CommaList = Field(
        default=(),
        description="Dates on which people expect other traffic (holidays, sales): 2013-11-28 or "
        "2013-11-28/2013-12-01, comma separated. Reported; no drift ticket, and not remembered.",
    )
    label_match_ms: int = Field(
        default=1_000, ge=0, description="Tolerance of a join by unit and prediction time."
    )
    attribution_h: float = Field(
        default=168.0, gt=0, description="A unit's business event counts this long after a row."
    )
    predictions_days: int = Field(
        default=400, ge=8, description="Events older than this, in business time, are let go."
    )
    pending_labels_max: int = Field(
        default=1_000_000, ge=1, description="Labels that wait for their prediction."
    )
    tick_s: float = Field(default=0.5, gt=0, description="How often jobs are looked at.")
    settle_s: float = Field(
        default=1.0, ge=0, description="Real time given to the log after a window has ended."
    )
    baseline_timeout_s: float = Field(default=2.0, gt=0)
    tickets_per_day: int = Field(
        default=10, ge=1, description="Of one model; further ones are listed, not sent."
    )
    webhook_url: str = Field(default="", description="Signed webhook; empty: none.")
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="Standard-Webhooks secret, whsec_ + base64."
    )
    slack_url: str = Field(default="", description="Incoming webhook; empty: none.")
    alertmanager_url: str = Field(default="", description="Base URL of an Alertmanager v2 API.")

    @model_validator(mode="after")
    def _webhook_is_signed(self) -> Self:
        if self.webhook_url and not self.webhook_secret.get_secret_value():
            raise ValueError("LEADLINE_WEBHOOK_URL needs LEADLINE_WEBHOOK_SECRET to sign with")
        return self

    @property
    def folder(self) -> Path:
        """Where the monitor writes."""
        return self.state_dir / "monitor"
