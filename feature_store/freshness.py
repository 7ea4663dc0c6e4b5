"""How far each view is applied, and how old what it knows is."""

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from feature_store.ports import LogReader
from shared_features import Catalogue


def freshness(
    catalogue: Catalogue, log: LogReader, applied: Mapping[str, int], now_us: int
) -> dict[str, Any]:
    """The state of every view; ``applied`` has the position of each by name."""
    last_seq = log.last_seq()
    newest: dict[str, int | None] = {}
    for name, source in catalogue.sources.items():
        rows = log.read(source)
        newest[name] = pc.max(rows["__event_us"]).as_py() if len(rows) else None
    views = {}
    for name, view in catalogue.views.items():
        event_us = newest[view.source.name]
        age_s = None if event_us is None else (now_us - event_us) / 1e6
        views[name] = {
            "applied_seq": applied[name],
            "behind": last_seq - applied[name],
            "newest_event_us": event_us,
            "age_s": age_s,
        }
    return {"log_seq": last_seq, "now_us": now_us, "views": views}
