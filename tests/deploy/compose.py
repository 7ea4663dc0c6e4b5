"""docker-compose.yml as data."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SERVICES = {
    "gateway": "gateway",
    "inference": "inference",
    "registry": "registry",
    "feature-store": "feature_store",
    "monitor": "monitor",
}
"""The five services: name in compose → package."""


def load_compose() -> dict[str, Any]:
    """The file, with its anchors resolved."""
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(content, dict)
    return content


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """The environment that compose gives to a service."""
    environment = service.get("environment", {})
    assert isinstance(environment, dict)
    return environment
