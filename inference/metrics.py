"""Every instrument of inference: name, unit, labels. Read at scrape time from plain numbers.

Labels come from closed sets: models and versions of the routing table, outcomes and stages of the
contracts.
"""

from typing import Literal, NamedTuple


class Instrument(NamedTuple):
    """What an instrument is called and what it says; a counter's name gets ``_total``."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter", "histogram"] = "gauge"


_OF_VERSION = ("model", "version")
REQUESTS = Instrument(
    "inference_requests",
    "Requests answered, by problem code or ok.",
    (*_OF_VERSION, "outcome"),
    kind="counter",
)
ROWS = Instrument(
    "inference_rows", "Rows, by how they ended.", (*_OF_VERSION, "outcome"), kind="counter"
)
DURATION_S = Instrument(
    "inference_request_duration_seconds",
    "From a request's arrival here to its answer.",
    _OF_VERSION,
    kind="histogram",
)
STAGE_S = Instrument(
    "inference_stage_duration_seconds",
    "Of a batch: waiting for a slot, features, compute, post-processing, record.",
    (*_OF_VERSION, "stage"),
    kind="histogram",
)
BATCH_ROWS = Instrument(
    "inference_batch_rows", "Rows answered together.", _OF_VERSION, kind="histogram"
)
CACHE = Instrument(
    "inference_cache_rows", "Rows by cache result.", (*_OF_VERSION, "result"), kind="counter"
)
DEGRADED = Instrument(
    "inference_degraded_rows",
    "Rows that went without something.",
    (*_OF_VERSION, "cause"),
    kind="counter",
)
SHADOW = Instrument(
    "inference_shadow_rows",
    "Shadow rows computed or dropped.",
    (*_OF_VERSION, "result"),
    kind="counter",
)
TRAFFIC_SHARE = Instrument(
    "inference_traffic_share", "Weight of each answering version.", (*_OF_VERSION, "variant")
)
MODEL_STATE = Instrument(
    "inference_model_state", "1 for the state a version is in.", (*_OF_VERSION, "state")
)
PROVIDER_FALLBACK = Instrument(
    "inference_provider_fallback",
    "1 where the wanted execution provider is missing and the CPU computes.",
    _OF_VERSION,
)
ROUTING_EPOCH = Instrument("inference_routing_epoch", "Epoch of the table in effect.")
REGISTRY_AWAY = Instrument("inference_registry_away", "1 while the registry does not answer.")
IN_FLIGHT = Instrument("inference_requests_in_flight", "Requests accepted and not answered.")
REFUSED = Instrument(
    "inference_refused", "Requests answered with a problem.", ("code",), kind="counter"
)
SPOOL_BYTES = Instrument("inference_spool_bytes", "Served events not yet durable in the stream.")
SPOOL_RECORDS = Instrument(
    "inference_spool_records", "Records written to the spool.", kind="counter"
)
SPOOL_DROPPED_ROWS = Instrument(
    "inference_spool_dropped_rows",
    "Served rows that could not be kept; the reader sees a gap.",
    kind="counter",
)
SHIPPED = Instrument(
    "inference_log_shipped_records", "Records added to the stream, with repeats.", kind="counter"
)
SHIP_FAILURES = Instrument(
    "inference_log_ship_failures", "Times the stream could not be written.", kind="counter"
)
LOG_AOF = Instrument(
    "inference_log_confirmed", "1 while the stream's server confirms its file on disk."
)
