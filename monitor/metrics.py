"""Every instrument of the monitor. Label values come from closed sets or from published models."""

from prometheus_client import Counter, Gauge, Histogram

from kit.telemetry import LATENCY_BUCKETS_S, REGISTRY

EVENTS = Counter(
    "monitor_events_total",
    "Served rows that were stored and counted.",
    ["model", "version", "variant"],
    registry=REGISTRY,
)
RECORDS = Counter("monitor_records_total", "Stream entries applied.", registry=REGISTRY)
DUPLICATES = Counter(
    "log_duplicates_total", "Stream entries that had been applied before.", registry=REGISTRY
)
GAPS = Counter(
    "log_gap_total", "Records that a producer numbered and that never came.", registry=REGISTRY
)
GAPS_OPEN = Gauge("log_gap_records", "Records still missing.", registry=REGISTRY)
LAG_S = Gauge(
    "log_lag_seconds", "Real time between the oldest unread entry and now.", registry=REGISTRY
)
BACKLOG = Gauge("log_backlog_entries", "Entries not yet acknowledged.", registry=REGISTRY)
DEAD = Counter(
    "log_dead_letters_total",
    "Entries buried on the dead-letter stream.",
    ["reason"],
    registry=REGISTRY,
)
FUTURE = Counter(
    "monitor_events_future_total",
    "Rows dated too far ahead: stored, not counted.",
    registry=REGISTRY,
)
UNFOLDED = Gauge(
    "monitor_rows_without_baseline",
    "Stored rows that wait for a baseline to be counted at.",
    registry=REGISTRY,
)
DAMAGED = Counter(
    "monitor_parts_damaged_total", "Parts that could not be read back.", registry=REGISTRY
)
BLOCKED = Gauge(
    "monitor_ingest_blocked", "1 while the state cannot be written (disk).", registry=REGISTRY
)
TRIMMED = Counter("log_trimmed_total", "Acknowledged entries cut off.", registry=REGISTRY)
APPLY_S = Histogram(
    "monitor_apply_seconds",
    "From a micro-batch in hand to its durability.",
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
LABELS = Counter(
    "monitor_labels_total",
    "Labels received, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)
LABELS_WAITING = Gauge(
    "monitor_labels_waiting", "Labels whose prediction has not been seen.", registry=REGISTRY
)
LABELS_OVERDUE = Gauge(
    "monitor_labels_overdue_share",
    "Share of predictions past the due age without a label, last nightly window.",
    ["model", "version"],
    registry=REGISTRY,
)
BUSINESS_EVENTS = Counter(
    "monitor_business_events_total", "Business events, by outcome.", ["outcome"], registry=REGISTRY
)
JOB_S = Histogram(
    "monitor_job_seconds",
    "Time a job took.",
    ["task"],
    buckets=LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
JOB_LAST_SUCCESS = Gauge(
    "monitor_job_last_success_timestamp_seconds",
    "Real time of a job's last success.",
    ["task"],
    registry=REGISTRY,
)
JOB_FAILURES = Counter(
    "monitor_job_failures_total", "Runs that failed.", ["task"], registry=REGISTRY
)
JOBS_BEHIND = Gauge("monitor_jobs_behind", "Ended windows not yet judged.", registry=REGISTRY)
FEATURE_D = Gauge(
    "drift_ks_distance",
    "KS (numeric) or total variation (categorical) distance of the last nightly window.",
    ["model", "version", "column"],
    registry=REGISTRY,
)
FEATURE_P = Gauge(
    "drift_p_value", "p of the last nightly window.", ["model", "version", "column"],
    registry=REGISTRY,
)  # fmt: skip
FEATURE_MEAN_SIGMA = Gauge(
    "drift_mean_sigmas",
    "Distance of the mean from the baseline's, in its standard deviations.",
    ["model", "version", "column"],
    registry=REGISTRY,
)
QUALITY = Gauge(
    "quality_value",
    "Realised quality over the last nightly window with labels.",
    ["model", "version", "metric"],
    registry=REGISTRY,
)
ALERTS = Gauge("monitor_alerts", "Alerts by state.", ["severity", "state"], registry=REGISTRY)
NOTIFICATIONS = Counter(
    "monitor_notifications_total",
    "Notifications handed to sinks.",
    ["sink", "outcome"],
    registry=REGISTRY,
)
LEADER = Gauge("monitor_leader", "1 where this process holds the lease.", registry=REGISTRY)
