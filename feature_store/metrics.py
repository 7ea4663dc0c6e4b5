"""Every instrument of the feature store. Sources and views are the definitions' own."""

from prometheus_client import Counter, Gauge

from kit.telemetry import REGISTRY

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
ONLINE_CONNECTED = Gauge(
    "feature_store_online_connected", "1 while the online store answers.", registry=REGISTRY
)
