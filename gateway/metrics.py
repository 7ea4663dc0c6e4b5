"""Every instrument of the gateway. Labels come from closed sets."""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kit.telemetry import LATENCY_BUCKETS_S, REGISTRY

IN_FLIGHT = Gauge("gateway_in_flight", "Prediction requests being answered.", registry=REGISTRY)
LEASES = Counter(
    "gateway_limit_leases_total",
    "Leases asked of the limiter's store, by outcome (granted, refused, away).",
    ("outcome",),
    registry=REGISTRY,
)
LOCAL_SHARES = Gauge(
    "gateway_limit_local", "1 while limits are local shares (Redis away).", registry=REGISTRY
)
KEYS = Gauge("gateway_keys", "Live API keys known.", registry=REGISTRY)
KEYS_AGE = Gauge(
    "gateway_keys_age_seconds", "Since the key store was last read.", registry=REGISTRY
)
REPLICAS_UP = Gauge("gateway_replicas_up", "Inference replicas connected.", registry=REGISTRY)
REPLICA_EJECTIONS = Counter(
    "gateway_replica_ejections_total", "Replicas put aside after failures.", registry=REGISTRY
)
RETRIES = Counter(
    "gateway_retries_total", "Second tries, by outcome (ok, failed, no_budget).", ("outcome",),
    registry=REGISTRY,
)  # fmt: skip
CONNECTIONS = Gauge("gateway_connections", "Open client connections.", registry=REGISTRY)


class HotHistogram(Collector):
    """A histogram for the hot path: 0.3 µs an observation instead of 2 (bench/gateway_hot_path).

    Safe because the event loop is one thread; a scrape reads on the same thread.
    """

    def __init__(self, name: str, documentation: str, buckets: tuple[float, ...]) -> None:
        self._name, self._documentation, self._buckets = name, documentation, buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        family = HistogramMetricFamily(self._name, self._documentation)
        cumulative, total = [], 0
        for bound, count in zip((*self._buckets, float("inf")), self._counts, strict=True):
            total += count
            cumulative.append(("+Inf" if bound == float("inf") else str(bound), total))
        family.add_metric([], cumulative, self._sum)
        yield family


class HotCounter(Collector):
    """A counter for the hot path: a dictionary entry instead of a lock and a float object."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self.counts: dict[tuple[str | int, ...], int] = {}

    def add(self, labels: tuple[str | int, ...] = (), amount: int = 1) -> None:
        """Count ``amount`` more."""
        self.counts[labels] = self.counts.get(labels, 0) + amount

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in self.counts.items():
            family.add_metric([str(label) for label in labels], count)
        yield family


REQUESTS = HotCounter(
    "gateway_requests",
    "Answers by route (predict, infer, control, own, edge) and status.",
    ("route", "status"),
)
REFUSED = HotCounter(
    "gateway_refused",
    "Requests refused before they cost an inference, by problem code.",
    ("code",),
)
ROWS = HotCounter("gateway_rows", "Prediction rows answered with 200.")
PREDICT_SECONDS = HotHistogram(
    "gateway_predict_seconds",
    "From a whole request to its answer being written, of /predict.",
    LATENCY_BUCKETS_S,
)
UPSTREAM_SECONDS = HotHistogram(
    "gateway_upstream_seconds",
    "From sending to a replica to its answer, of /predict and /v2.",
    LATENCY_BUCKETS_S,
)
for _hot in (REQUESTS, REFUSED, ROWS, PREDICT_SECONDS, UPSTREAM_SECONDS):
    REGISTRY.register(_hot)

# A counter that begins with its first fault shows no increase: the faults begin at zero.
for _fault in (500, 502, 503, 504):
    REQUESTS.add(("predict", _fault), 0)
