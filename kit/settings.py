"""Settings: one frozen object a process, read once in ``__main__`` from ``LEADLINE_*``."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A tuple that the environment gives as one comma-separated string."""


class ServiceSettings(BaseSettings):
    """What every service needs; each service adds its own in ``<service>/settings.py``."""

    model_config = SettingsConfigDict(
        env_prefix="LEADLINE_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535, description="0 lets the system choose.")
    listen_fd: int | None = Field(
        default=None, description="A listening socket passed by the supervisor; wins over port."
    )
    state_dir: Path = Field(default=Path(".leadline"), description="Where the process may write.")
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="redis:// or unix://")
    service_token: SecretStr = Field(
        default=SecretStr(""),
        description="Shared by the services; calls without it are refused. Empty refuses all.",
    )
    clock_file: Path | None = Field(
        default=None, description="Business time for a demo; None is the machine's clock."
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    feature_modules: CommaList = Field(
        default=(), description="Modules or files with feature definitions, comma separated."
    )
    registry_url: str = "http://127.0.0.1:8082"
    feature_store_url: str = "http://127.0.0.1:8083"
    monitor_url: str = "http://127.0.0.1:8084"
    inference_urls: CommaList = Field(
        default=("http://127.0.0.1:8081",), description="HTTP of the inference replicas."
    )
    inference_frames: CommaList = Field(
        default=(),
        description="Frame listeners: unix:///path or tcp://host:port. One listens, the gateway "
        "connects to all.",
    )
    drain_s: float = Field(default=10.0, ge=0, le=300, description="Longest wait when stopping.")
