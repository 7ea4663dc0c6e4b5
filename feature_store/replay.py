"""Replay what was served from the log: a sample of live rows, judged all the time.

Inference writes the lineage of one row in many into the served log; this verb reads it as a
bystander, bounded, and counts. Nothing waits for it, and nothing is kept for it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from contracts.served import decode_served
from feature_store.domain.parity import (
    Asked,
    Class,
    Served,
    columns_needed,
    judge,
    key_of,
    served_rows,
)
from feature_store.metrics import PARITY, SERVED_LAG_S, SERVED_SAMPLES
from feature_store.ports import LogReader, ServedLog
from kit.clock import Clock
from kit.logs import get_logger
from kit.redis_pipeline import RedisAway
from shared_features import Catalogue, CompiledService, UnknownRef, View

_log = get_logger(__name__)

SAMPLES_PER_TURN = 256
"""The newest are judged; one costs about a millisecond of a thread."""
MISMATCHES_KEPT = 20
Verdict = dict[str, Class]


class OtherDefinitions(LookupError):
    """A row was served by definitions that are not, or no longer, ours."""


@dataclass(slots=True)
class Tally:
    """What the replay has found since this process started."""

    rows: int = 0
    values: Counter[Class] = field(default_factory=Counter)
    """How many values were match, stale and mismatch."""
    mismatches: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MISMATCHES_KEPT))
    """The last ones: ref, keys, instant and applied position."""
    lag_s: float = 0.0


class Replayer:
    """Judges rows that were served by what the log says."""

    def __init__(
        self, catalogue: Catalogue, log: LogReader, served: ServedLog, clock: Clock
    ) -> None:
        self._catalogue = catalogue
        self._log = log
        self._served = served
        self._clock = clock
        self.tally = Tally()

    async def run(self, every_s: float) -> None:
        """Replay for ever, spending at most a twentieth of the time on it."""
        while True:
            began_ns = self._clock.monotonic_ns()
            with suppress(RedisAway, TimeoutError):
                await self.turn()  # what was served is still there when the store is back
            took_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await asyncio.sleep(max(every_s, 20 * took_s))

    async def turn(self) -> None:
        """Judge the samples that have come since the last turn."""
        samples, outcomes = [], Counter[str]()
        records = await self._served.read()
        await self._served.done()  # before they are judged: a sample is lost rather than in the way
        for record in records:
            try:
                samples += served_rows(decode_served(record))
            except (KeyError, IndexError, TypeError, ValueError):
                outcomes["unreadable"] += 1
        outcomes["let_go"] = max(0, len(samples) - SAMPLES_PER_TURN)
        chosen: list[Served] = []
        for sample in samples[-SAMPLES_PER_TURN:]:
            try:
                self._asked(sample)
            except OtherDefinitions:
                outcomes["other_definitions"] += 1
            except ValueError:
                outcomes["unreadable"] += 1
            else:
                chosen.append(sample)
        for sample, verdict in zip(chosen, await self.judge(chosen), strict=True):
            self._count(sample, verdict)
        outcomes["judged"] = len(chosen)
        for outcome, count in outcomes.items():
            SERVED_SAMPLES.labels(outcome).inc(count)
        self.tally.lag_s = await self._served.lag_s()
        SERVED_LAG_S.set(self.tally.lag_s)

    def _count(self, sample: Served, verdict: Verdict) -> None:
        self.tally.rows += 1
        for ref, found in verdict.items():
            PARITY.labels(ref.partition(":")[0].partition("@")[0], found).inc()
            self.tally.values[found] += 1
            if found != "mismatch":
                continue
            _log.error("served_feature_mismatch", ref=ref, at_us=sample.at_us)
            self.tally.mismatches.append(
                {
                    "ref": ref,
                    "keys": dict(sample.keys),
                    "at_us": sample.at_us,
                    "applied_seq": sample.applied_seq,
                    "served": sample.values[ref],
                }
            )

    async def judge(self, samples: Sequence[Served]) -> list[Verdict]:
        """Each ref of each row: match, stale or mismatch; outputs of functions are left out.

        Raises ``OtherDefinitions``, and ``ValueError`` for a key of the wrong type.
        """
        by_view: dict[str, tuple[View, list[Asked]]] = {}
        verdicts: dict[int, Verdict] = {id(sample): {} for sample in samples}
        for sample in samples:
            for view, asked in self._asked(sample):
                by_view.setdefault(view.name, (view, []))[1].append(asked)
        for view, asked_of_it in by_view.values():
            found = await asyncio.to_thread(self._judge_view, view, asked_of_it)
            for asked, verdict in zip(asked_of_it, found, strict=True):
                verdicts[id(asked.served)] |= verdict
        return [verdicts[id(sample)] for sample in samples]

    def _judge_view(self, view: View, asked: Sequence[Asked]) -> list[Verdict]:
        return judge(view, self._log.read_columns(view.source, columns_needed(view)), asked)

    def _asked(self, sample: Served) -> list[tuple[View, Asked]]:
        """What the row was told, view by view."""
        service = self._service(sample)
        told = []
        for number, read in enumerate(service.reads):
            features = {
                one.ref: one.feature
                for one in service.features
                if one.read == number and one.ref in sample.values
            }
            if features:
                key = key_of(read.view.entity, read.key_columns, sample.keys)
                told.append((read.view, Asked(sample, key, features)))
        return told

    def _service(self, sample: Served) -> CompiledService:
        try:
            if sample.service is None:
                return self._catalogue.compile_refs(list(sample.values))
            service = self._catalogue.compile(sample.service)
        except UnknownRef as error:
            raise OtherDefinitions(str(error)) from error
        if sample.fingerprint not in (None, service.fingerprint):
            raise OtherDefinitions(f"{sample.service} is defined otherwise now")
        return service
