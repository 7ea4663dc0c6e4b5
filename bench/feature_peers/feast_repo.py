"""The benchmark's features, as Feast defines them; run in an environment of Feast's own."""

from datetime import timedelta
from pathlib import Path
from typing import Any

FEATURES = [f"f{i}" for i in range(10)]
REFS = [f"stats:{name}" for name in FEATURES]


def store(folder: Path, offline: str, redis_socket: str | None = None) -> Any:
    """A Feast repository in ``folder``, applied."""
    from feast import (  # type: ignore[import-not-found]
        Entity,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        RepoConfig,
    )
    from feast.types import Float64  # type: ignore[import-not-found]
    from feast.value_type import ValueType  # type: ignore[import-not-found]

    online: dict[str, Any] = {"type": "sqlite", "path": str(folder / "online.db")}
    if redis_socket is not None:
        online = {"type": "redis", "connection_string": redis_socket}
    config = RepoConfig(
        project="bench",
        registry=str(folder / "registry.db"),
        provider="local",
        offline_store={"type": offline},
        online_store=online,
        entity_key_serialization_version=3,
    )
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
    source = FileSource(
        path=str(folder / "source.parquet"),
        timestamp_field="event_time",
        created_timestamp_column="created_time",
    )
    view = FeatureView(
        name="stats",
        entities=[user],
        ttl=timedelta(days=365 * 20),
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=source,
    )
    found = FeatureStore(config=config)
    found.apply([user, view])
    return found
