"""Answers that a version gave before: in process, and in Redis where the model is slower."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.domain.cache import AnswerCache, keys_of, seal, unseal
from inference.domain.fleet import Computed, LoadedVersion, Tensor
from kit.clock import Clock
from kit.redis_pipeline import PipelinedRedis, RedisAway, RedisError

_TRIP_S = 0.001
"""A round trip to Redis and back into columns; a model that is faster is run instead."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row's scores as float64 bytes, or why there are none."""

    scores: bytes
    outcome: int = 0


@dataclass(slots=True)
class _Question:
    """One call of ``compute``."""

    loaded: LoadedVersion
    feeds: dict[str, Tensor]
    deadlines_ns: npt.NDArray[np.int64]
    keys: list[bytes]
    queue_ns: int = 0
    compute_ns: int = 0


class RememberedAnswers:
    """Computes only rows that are not remembered, each once however many ask for it now.

    What is kept is the score output's row, before post-processing: a threshold or an exploration
    is decided anew for every request. Errors are never kept.
    """

    def __init__(self, redis: PipelinedRedis, clock: Clock, bytes_max: int) -> None:
        self._redis = redis
        self._clock = clock
        self._cache = AnswerCache(bytes_max)
        self._flights: dict[bytes, asyncio.Future[_Row | None]] = {}

    async def compute(
        self,
        loaded: LoadedVersion,
        feeds: dict[str, Tensor],
        deadlines_ns: npt.NDArray[np.int64],
    ) -> tuple[Computed, npt.NDArray[np.bool_]]:
        """The answers, and which of them were remembered."""
        prefix = f"{loaded.model}@{loaded.version}:{loaded.digest}:".encode()
        keys = keys_of(prefix, feeds, len(deadlines_ns))
        question = _Question(loaded, feeds, deadlines_ns, keys)
        found = await self._remembered(loaded, dict.fromkeys(keys))
        cached = np.array([key in found for key in keys])
        hits = int(cached.sum())
        loaded.tally.cache["hit"] += hits
        loaded.tally.cache["miss"] += len(keys) - hits
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        waited = {key: self._flights[key] for key in missing if key in self._flights}
        found |= await self._fly(question, [key for key in missing if key not in waited])
        for key, flight in waited.items():
            row = await asyncio.shield(flight)  # our caller may leave; the others still wait
            if row is not None and not row.outcome:
                found[key] = row
        # A flight that failed was another's failure (its deadline, perhaps): ask for ourselves.
        found |= await self._run(question, [key for key in waited if key not in found])
        return _joined(question, found), cached

    async def _remembered(self, loaded: LoadedVersion, keys: Iterable[bytes]) -> dict[bytes, _Row]:
        now_ns = self._clock.monotonic_ns()
        near = {key: self._cache.get(key, now_ns) for key in keys}
        far = [key for key, value in near.items() if value is None]
        if far and loaded.engine.run_s(1) > _TRIP_S:
            try:
                values = await self._redis.execute("MGET", *map(_name, far))
                near |= {key: unseal(key, kept) for key, kept in zip(far, values, strict=True)}
            except (RedisAway, RedisError):
                pass  # the cache is away: compute
        return {key: _Row(value) for key, value in near.items() if value is not None}

    async def _fly(self, question: _Question, keys: Sequence[bytes]) -> dict[bytes, _Row]:
        """Compute these rows; whoever wants one of them meanwhile waits for it."""
        loop = asyncio.get_running_loop()
        flights = {key: loop.create_future() for key in keys}
        self._flights |= flights
        rows: Mapping[bytes, _Row] = {}
        try:
            rows = await self._run(question, keys)
        finally:
            for key, flight in flights.items():
                del self._flights[key]
                flight.set_result(rows.get(key))
        self._keep(question.loaded, rows)
        return dict(rows)

    async def _run(self, question: _Question, keys: Sequence[bytes]) -> dict[bytes, _Row]:
        if not keys:
            return {}
        # Of those who ask for the same row, who can wait longest stands for all.
        by_patience = question.deadlines_ns.argsort(kind="stable").tolist()
        place_of = {question.keys[place]: place for place in by_patience}
        places = [place_of[key] for key in keys]
        part = {name: tensor[places] for name, tensor in question.feeds.items()}
        loaded = question.loaded
        computed = await loaded.engine.compute(part, len(keys), question.deadlines_ns[places])
        question.queue_ns += computed.queue_ns
        question.compute_ns += computed.compute_ns
        scores = computed.outputs[loaded.score_output].reshape(len(keys), -1).astype(np.float64)
        outcomes = computed.outcome.tolist()
        return {
            key: _Row(scores[place].tobytes(), outcomes[place]) for place, key in enumerate(keys)
        }

    def _keep(self, loaded: LoadedVersion, rows: Mapping[bytes, _Row]) -> None:
        ttl_s = loaded.manifest.cache_ttl_s
        until_ns = self._clock.monotonic_ns() + int(ttl_s * 1e9)
        slow = loaded.engine.run_s(1) > _TRIP_S
        for key, row in rows.items():
            if row.outcome or not np.isfinite(np.frombuffer(row.scores)).all():
                continue
            self._cache.put(key, row.scores, until_ns)
            if slow:
                sealed = seal(key, row.scores)
                kept = self._redis.execute("SET", _name(key), sealed, "PX", int(ttl_s * 1000))
                kept.add_done_callback(_look_away)


def _look_away(kept: "asyncio.Future[object]") -> None:
    """A cache that is away costs nothing but its use."""
    if not kept.cancelled():
        kept.exception()


def _name(key: bytes) -> str:
    return f"ll:answers:{hashlib.blake2b(key, digest_size=20).hexdigest()}"


def _joined(question: _Question, found: Mapping[bytes, _Row]) -> Computed:
    rows = [found[key] for key in question.keys]
    width = max(len(row.scores) for row in rows)
    blank = bytes(width)
    data = b"".join([row.scores if not row.outcome else blank for row in rows])
    scores = np.frombuffer(data).reshape(len(rows), -1)
    # Only the score output is looked at; it stands where the graph has it.
    outputs = (scores,) * (question.loaded.score_output + 1)
    outcome = np.array([row.outcome for row in rows], np.uint8)
    return Computed(outputs, outcome, question.queue_ns, question.compute_ns)
