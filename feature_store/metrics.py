"""Every instrument of the feature store. Sources and views are the definitions' own."""

from functools import cache

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter, Gauge, Histogram

from contracts.served import STATUSES
from kit.telemetry import LATENCY_BUCKETS_S, REGISTRY

PUSHED = Counter(
    "feature_store_rows_pushed_total",
    "Rows pushed, by what became of them (accepted, duplicate, quarantined).",
    ["source", "outcome"],
    registry=REGISTRY,
)
NEWEST_EVENT = Gauge(
    "feature_store_newest_event_timestamp_seconds",
    "Business time of the newest row of a source.",
    ["source"],
    registry=REGISTRY,
)
LIVES_S = Gauge(
    "feature_store_source_lives_seconds",
    "After so long without a new row, some view of the source has no value left.",
    ["source"],
    registry=REGISTRY,
)
BUSINESS_TIME = Gauge(
    "feature_store_business_timestamp_seconds",
    "Business time now; the machine's, except in a demo.",
    registry=REGISTRY,
)
LOG_SEQ = Gauge("feature_store_log_position", "Position of the log's last row.", registry=REGISTRY)
APPLIED_SEQ = Gauge(
    "feature_store_applied_position",
    "Position up to which every view is in the online store.",
    registry=REGISTRY,
)
LOG_LOST = Gauge(
    "feature_store_log_lost",
    "1 while the log was opened empty, but the online store holds rows: nothing is applied.",
    registry=REGISTRY,
)
ONLINE_CONNECTED = Gauge(
    "feature_store_online_connected", "1 while the online store answers.", registry=REGISTRY
)
STORE_USED = Gauge(
    "store_memory_used_bytes",
    "Memory of the Redis-compatible store that counts against its limit, as it said last: "
    "features, served rows on their way, keys and limits together.",
    registry=REGISTRY,
)
STORE_LIMIT = Gauge(
    "store_memory_limit_bytes",
    "Memory from which on the store refuses writes: its maxmemory; the machine's, where it has "
    "none or that is less.",
    registry=REGISTRY,
)
VALUES = Counter(
    "feature_values_total",
    "Values answered by look-ups of this service, by status: a view's null, missing and stale "
    "rates are its shares of NULL_VALUE, NOT_FOUND and OUTSIDE_MAX_AGE.",
    ["view", "status"],
    registry=REGISTRY,
)
PARITY = Counter(
    "feature_parity_total",
    "Comparisons of served and online values with the log: match, stale (the store was behind the "
    "log) or mismatch (which must never happen).",
    ["view", "class"],
    registry=REGISTRY,
)
SERVED_SAMPLES = Counter(
    "feature_served_samples_total",
    "Rows that inference sampled for verification: judged, let_go (too many at once), "
    "other_definitions (served by a version whose features are defined otherwise), unreadable.",
    ["outcome"],
    registry=REGISTRY,
)
SERVED_LAG_S = Gauge(
    "feature_served_lag_seconds",
    "How far the newest served record is ahead of the last one that was verified.",
    registry=REGISTRY,
)
LOOK_UP_SECONDS = Histogram(
    "feature_look_up_seconds",
    "Duration of a look-up through this service.",
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)


def count_statuses(view: str, status: npt.NDArray[np.uint8], times: int) -> None:
    """Add a column of statuses, ``times`` over, to a view's counts."""
    counts = np.bincount(status).tolist() if status.any() else [len(status)]
    for code, count in enumerate(counts):
        if count:
            _values(view, code).inc(count * times)


@cache
def _values(view: str, code: int) -> Counter:
    return VALUES.labels(view, STATUSES[code])


def begin_parity(view: str) -> None:
    """Show a view's classes from the start: a counter that appears at 1 has not increased."""
    for verdict in ("match", "stale", "mismatch"):
        PARITY.labels(view, verdict)
