"""How far each view is applied, and how old what it knows is."""

from collections.abc import Mapping
from typing import Any

from shared_features import Catalogue


def freshness(
    catalogue: Catalogue,
    last_seq: int,
    applied: Mapping[str, int],
    newest_us: Mapping[str, int],
    now_us: int,
) -> dict[str, Any]:
    """The state of every view: ``applied`` has its position by name, ``newest_us`` the newest
    event of each source that has one."""
    views = {}
    for name, view in catalogue.views.items():
        event_us = newest_us.get(view.source.name)
        age_s = None if event_us is None else (now_us - event_us) / 1e6
        views[name] = {
            "applied_seq": applied[name],
            "behind": last_seq - applied[name],
            "newest_event_us": event_us,
            "age_s": age_s,
        }
    return {"log_seq": last_seq, "now_us": now_us, "views": views}
