"""Truth comes late, twice, out of order, or never: each label finds its prediction once."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from contracts.labels import EventIn, LabelIn
from contracts.manifest import Manifest
from kit.clock import Clock
from monitor import metrics
from monitor.ports import Baselines, Labels, Occurrence, Offload, Truth


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a request's labels or events, by number; ``rejected`` names positions."""

    outcomes: dict[str, int]
    rejected: tuple[dict[str, str], ...] = field(default=())


class JoinLabels:
    """Takes labels and business events in."""

    def __init__(
        self, labels: Labels, baselines: Baselines, offload: Offload, clock: Clock
    ) -> None:
        self._labels = labels
        self._baselines = baselines
        self._offload = offload
        self._clock = clock

    async def labels(self, given: Sequence[LabelIn]) -> Received:
        """Store and join. A label that names no class of its model is rejected, the rest taken."""
        truths: list[Truth] = []
        rejected: list[dict[str, str]] = []
        positions: list[int] = []
        for at, label in enumerate(given):
            value = self._value(label)
            if value is None:
                rejected.append({"pointer": f"/labels/{at}/label", "code": "unknown-class"})
                continue
            positions.append(at)
            truths.append(_truth(label, value))
        received_us = self._clock.wall_us()
        outcomes = await self._offload(lambda: self._labels.upsert(truths, received_us))
        for at, outcome in zip(positions, outcomes, strict=True):
            if outcome == "rejected":
                rejected.append({"pointer": f"/labels/{at}", "code": "too-many-waiting"})
        counted: Counter[str] = Counter(outcomes)
        counted["rejected"] = len(rejected)
        for name, number in counted.items():
            metrics.LABELS.labels(name).inc(number)
        return Received(dict(counted), tuple(rejected[:20]))

    async def events(self, given: Sequence[EventIn]) -> Received:
        """Store business events, each event id once."""
        occurrences = [
            Occurrence(
                model=event.model,
                event_id=event.event_id,
                name=event.name,
                value=event.value,
                event_us=_micros(event.event_time),
                key=None if event.request_id is None else key_of(event.request_id, event.row),
                unit=event.unit,
            )
            for event in given
        ]
        received_us = self._clock.wall_us()
        new = await self._offload(lambda: self._labels.occur(occurrences, received_us))
        counted = {"stored": sum(new), "unchanged": len(new) - sum(new)}
        for outcome, number in counted.items():
            metrics.BUSINESS_EVENTS.labels(outcome).inc(number)
        return Received(counted)

    def _value(self, label: LabelIn) -> float | None:
        """The label as a number; None where it is no class of any known version. Of a model that
        is not known yet any number may be right."""
        manifests = [
            version.manifest
            for version in reversed(self._baselines.versions(label.model))
            if version.manifest is not None
        ]
        if isinstance(label.label, str):
            named = (class_names(manifest) for manifest in manifests)
            return next((float(c.index(label.label)) for c in named if label.label in c), None)
        value = float(label.label)
        fits = not manifests or any(_fits(value, manifest) for manifest in manifests)
        return value if fits else None


def _fits(value: float, manifest: Manifest) -> bool:
    if manifest.task != "classification":
        return math.isfinite(value)
    classes = len(class_names(manifest))
    return value >= 0 and value.is_integer() and (classes == 0 or value < classes)


def class_names(manifest: Manifest) -> tuple[str, ...]:
    """Names of the classes by index; the last one is the positive one."""
    post = manifest.post_processing
    if post.labels:
        return post.labels
    if post.threshold is not None:
        return post.threshold.below, post.threshold.at_or_above
    return ()


def key_of(request_id: str, row: int) -> bytes:
    """The 18 bytes that name a prediction. A request id that is not 32 hexadecimal digits is a
    client's own; until its prediction is seen it stands for itself by a digest."""
    if len(request_id) == 32:
        try:
            return bytes.fromhex(request_id) + row.to_bytes(2, "little")
        except ValueError:
            pass
    return sha256(request_id.encode()).digest()[:16] + row.to_bytes(2, "little")


def _truth(label: LabelIn, value: float) -> Truth:
    label_us = _micros(label.event_time)
    if label.request_id is not None:
        key = key_of(label.request_id, label.row)
        own = label.request_id if key[:16].hex() != label.request_id.lower() else None
        return Truth(label.model, value, label_us, key, own, label.row)
    assert label.predicted_at is not None
    return Truth(
        label.model, value, label_us, unit=label.unit, predicted_us=_micros(label.predicted_at)
    )


def _micros(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
