"""Every knob of the gateway."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from kit.settings import ServiceSettings


class Issuer(BaseModel):
    """An OpenID Connect issuer whose tokens are accepted (RFC 8725: algorithms are pinned)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...] = ("RS256",)
    scope_claim: str = "scope"
    """A space-separated string or a list; scopes that the platform does not know are dropped."""
    principal_claim: str = "sub"


class GatewaySettings(ServiceSettings):
    """The gateway's settings; all others are the service's."""

    key_env: str = Field(default="local", description="The <env> in keys that are made here.")
    pepper: SecretStr = Field(
        default=SecretStr(""), description="Empty: read from <state>/gateway/pepper."
    )
    keys_poll_s: float = Field(
        default=1.0, gt=0, le=5, description="A revocation reaches every gateway within this time."
    )
    keys_timeout_ms: float = Field(
        default=500.0, gt=0, description="For Redis to store a new or revoked key."
    )
    issuers: tuple[Issuer, ...] = Field(default=(), description="JSON list; empty: no tokens.")
    jwks_fresh_s: float = Field(default=300.0, gt=0, description="Keys are fetched again after it.")
    token_quota_rows: int = Field(default=600_000, ge=1, description="Of each token's principal.")
    token_window_s: int = Field(default=60, ge=1)

    gateways: int = Field(
        default=1, ge=1, description="How many gateways run: with Redis away each spends 1/N."
    )
    limiter_timeout_ms: float = Field(default=20.0, gt=0)
    in_flight_max: int = Field(
        default=4096, ge=1, description="Requests at a time; more are refused at once."
    )
    in_flight_per_key_max: int = Field(
        default=1024, ge=1, description="One noisy caller leaves room for the quiet ones."
    )
    request_timeout_ms: int = Field(
        default=5_000, ge=1, le=60_000, description="When X-Request-Timeout-Ms is not given."
    )
    inline_bytes_max: int = Field(
        default=256 * 1024, description="Larger bodies are parsed off the event loop."
    )

    replica_items_max: int = Field(default=8_192, ge=1, description="In flight to one replica.")
    replica_bytes_max: int = Field(default=128 * 1024 * 1024, ge=1)
    replica_resolve_s: float = Field(default=5.0, gt=0, description="DNS is asked again after it.")
    retry_budget: float = Field(default=0.1, ge=0, le=1, description="Retries a request, at most.")

    head_s_max: float = Field(default=10.0, gt=0, description="From the first byte of a head.")
    idle_s_max: float = Field(default=20.0, gt=0)
    idle_v2_s_max: float = Field(
        default=75.0, gt=0, description="Inference clients keep a connection for 65 s."
    )
    body_bytes_per_s_min: float = Field(default=1024.0, ge=0)
    body_grace_s: float = Field(
        default=5.0, gt=0, description="Before this a body's rate says nothing."
    )
    line_bytes_max: int = Field(default=8 * 1024, ge=1024)
    header_bytes_max: int = Field(default=8 * 1024, ge=1024, description="One header.")
    headers_bytes_max: int = Field(default=32 * 1024, ge=1024, description="All of them.")
    headers_max: int = Field(default=100, ge=10)
    connections_max: int = Field(default=10_000, ge=1)
    bodies_bytes_max: int = Field(
        default=256 * 1024 * 1024,
        ge=4 * 1024 * 1024,
        description="Of bodies that are being read, all together, beyond the first 64 KiB of each.",
    )
    access_log_share: float = Field(
        default=0.001, ge=0, le=1, description="Of sound answers; faults of ours are all logged."
    )

    metrics_open: bool = Field(
        default=True, description="false: /metrics wants a key with the scope monitor:read."
    )

    @property
    def private_dir(self) -> Path:
        """The gateway's own directory."""
        return self.state_dir / "gateway"

    def read_pepper(self) -> bytes:
        """The secret of the keys' digests. Raises ``OSError`` where there is none."""
        given = self.pepper.get_secret_value()
        return given.encode() if given else (self.private_dir / "pepper").read_bytes()
