"""Every knob of inference."""

from pydantic import Field

from kit.settings import CommaList, ServiceSettings


class InferenceSettings(ServiceSettings):
    """Read once in ``__main__``."""

    replica: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Unique among the replicas; empty: the host's name, as in containers.",
    )
    push_url: str | None = Field(
        default=None, description="Where the registry reaches this replica with a new table."
    )
    providers: CommaList = Field(
        default=("CPUExecutionProvider",),
        description="ONNX Runtime execution providers in order of preference; CPU is always last.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of one model run; 0 shares the CPU quota out among the slots.",
    )
    slots: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Model runs at the same time; 0: two, where the CPU quota allows.",
    )
    inline_us_max: int = Field(
        default=1_000,
        ge=0,
        description="A batch that is predicted to compute in less runs on the event loop: handing "
        "it to a thread and back costs more than it frees (bench/inference_frames.py).",
    )
    queue_delay_us_max: int = Field(
        default=0, ge=0, le=100_000, description="How long a batch may wait for company. 0: never."
    )
    rows_in_flight_max: int = Field(default=50_000, ge=1, description="Rows accepted, unanswered.")
    features_timeout_ms: float = Field(default=50.0, gt=0, le=5_000)
    cache_timeout_ms: float = Field(default=20.0, gt=0, le=5_000)
    cache_bytes_max: int = Field(default=64 << 20, ge=0, description="Of answers kept in process.")
    spool_bytes_max: int = Field(
        default=1 << 30, ge=1 << 20, description="Served events on disk that wait for the stream."
    )
    spool_sync_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="fdatasync this often: a killed process loses nothing, a power cut this much.",
    )
    shadow_rows_max: int = Field(default=5_000, ge=0, description="Rows that wait for shadows.")
    poll_s: float = Field(
        default=20.0, gt=0, le=60, description="Length of the registry's long poll."
    )
    report_every_s: float = Field(default=5.0, gt=0, le=300)
    artifacts_bytes_max: int = Field(default=4 << 30, ge=1 << 20, description="Of one artifact.")
    v2_open: bool = Field(
        default=False,
        description="Answer /v2 without the service token; for a loopback address only.",
    )
    partitions: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Streams of the served log; batches are dealt out to them in turn.",
    )
