"""Turns the plain numbers of versions, spool and shipper into Prometheus families at scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from contracts.routing import VersionState
from contracts.served import OUTCOMES
from inference import metrics
from inference.domain.fleet import Fleet
from inference.domain.tally import Histogram, Tally
from inference.metrics import Instrument

Gauges = Callable[[], Iterable[tuple[Instrument, float]]]


def _histogram(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    total, buckets = 0, []
    for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        total += count
        buckets.append((bound if isinstance(bound, str) else repr(bound), total))
    family.add_metric(labels, buckets, histogram.total)


def _counter(what: Instrument) -> CounterMetricFamily:
    return CounterMetricFamily(what.name, what.documentation, labels=what.labels)


def _gauge(what: Instrument) -> GaugeMetricFamily:
    return GaugeMetricFamily(what.name, what.documentation, labels=what.labels)


class InferenceCollector(Collector):
    """Registered once in ``kit.telemetry.REGISTRY``; reads what changes through callbacks."""

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        states: Callable[[], Iterable[VersionState]],
        refused: dict[str, int],
        gauges: Gauges,
        counters: Gauges,
    ) -> None:
        self._fleet = fleet
        self._states = states
        self._refused = refused
        self._gauges = gauges
        self._counters = counters

    def describe(self) -> Iterable[Metric]:
        """Nothing: a collector that describes itself is collected once at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, now."""
        fleet = self._fleet()
        tallies = {key: one.tally for key, one in fleet.versions.items()}
        yield from _counts(tallies)
        yield from _durations(tallies)
        yield from self._models(fleet)
        refused = _counter(metrics.REFUSED)
        for code, count in self._refused.items():
            refused.add_metric([code], count)
        yield refused
        for make, read in ((_gauge, self._gauges), (_counter, self._counters)):
            for what, value in read():
                family = make(what)
                family.add_metric([], value)
                yield family

    def _models(self, fleet: Fleet) -> Iterator[Metric]:
        share = _gauge(metrics.TRAFFIC_SHARE)
        for model in fleet.models.values():
            for arm in model.route.arms:
                share.add_metric([model.name, arm.version, arm.variant], arm.weight)
        yield share
        state = _gauge(metrics.MODEL_STATE)
        for one in self._states():
            state.add_metric([one.model, one.version, one.state], 1)
        yield state
        fallback = _gauge(metrics.PROVIDER_FALLBACK)
        for (name, version), loaded in fleet.versions.items():
            fallback.add_metric([name, version], float(loaded.engine.fallback))
        yield fallback


def _counts(tallies: dict[tuple[str, str], Tally]) -> Iterator[Metric]:
    rows = _counter(metrics.ROWS)
    for key, tally in tallies.items():
        for outcome, count in zip(OUTCOMES, tally.rows, strict=True):
            rows.add_metric([*key, outcome], count)
    yield rows
    families = [
        (_counter(what), name)
        for what, name in (
            (metrics.REQUESTS, "requests"),
            (metrics.CACHE, "cache"),
            (metrics.DEGRADED, "degraded"),
            (metrics.SHADOW, "shadow"),
        )
    ]
    for family, name in families:
        for key, tally in tallies.items():
            counts: dict[str, int] = getattr(tally, name)
            for label, count in counts.items():
                family.add_metric([*key, label], count)
        yield family


def _durations(tallies: dict[tuple[str, str], Tally]) -> Iterator[Metric]:
    def family(what: Instrument) -> HistogramMetricFamily:
        return HistogramMetricFamily(what.name, what.documentation, labels=what.labels)

    duration, stage = family(metrics.DURATION_S), family(metrics.STAGE_S)
    batch = family(metrics.BATCH_ROWS)
    for key, tally in tallies.items():
        _histogram(duration, [*key], tally.duration)
        _histogram(batch, [*key], tally.batch_rows)
        for name, histogram in tally.stages.items():
            _histogram(stage, [*key, name], histogram)
    yield from (duration, stage, batch)
