"""Every instrument of the registry."""

from prometheus_client import Counter, Gauge

from kit.telemetry import REGISTRY

EPOCH = Gauge("registry_routing_epoch", "Epoch of the routing table.", registry=REGISTRY)

PUBLISHED = Counter(
    "registry_versions_published_total", "Versions published.", ["outcome"], registry=REGISTRY
)

TRANSITIONS = Counter(
    "registry_transitions_total", "State changes of versions.", ["to"], registry=REGISTRY
)

PUSHES = Counter(
    "registry_routing_pushes_total",
    "Routing tables pushed to replicas.",
    ["outcome"],
    registry=REGISTRY,
)

REPLICAS_LIVE = Gauge("registry_replicas_live", "Inference replicas heard of.", registry=REGISTRY)

MIRROR_PENDING = Gauge(
    "registry_mirror_pending", "Versions and aliases not yet in MLflow.", registry=REGISTRY
)

MIRROR_OUT_OF_BAND = Counter(
    "registry_mirror_out_of_band_total",
    "Aliases that somebody moved in MLflow itself.",
    registry=REGISTRY,
)

AUDIT_BROKEN = Gauge(
    "registry_audit_broken",
    "1 where the audit log is not what was written; looked at every hour.",
    registry=REGISTRY,
)

FILES_MISSING = Gauge(
    "registry_files_missing",
    "Files of versions that are not there, or not whole; looked at every hour.",
    registry=REGISTRY,
)

TRAFFIC_SHARE = Gauge(
    "rollout_traffic_share",
    "Share of units the routing table gives to a version.",
    ["model", "version"],
    registry=REGISTRY,
)

LOG_EVALUE = Gauge(
    "rollout_log_evalue",
    "Log e-value of a guard of the running rollout: evidence of harm.",
    ["model", "guard"],
    registry=REGISTRY,
)

DECISIONS = Counter(
    "rollout_decisions_total",
    "What the controller decided, by reason.",
    ["verdict", "reason"],
    registry=REGISTRY,
)

WEBHOOK_DELIVERIES = Counter(
    "registry_webhook_deliveries_total", "Attempts to deliver.", ["outcome"], registry=REGISTRY
)
