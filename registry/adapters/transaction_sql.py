"""One transaction on the registry's tables."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Connection, delete, func, insert, select, update

from contracts.manifest import NAME
from contracts.problems import ProblemCode
from contracts.routing import ModelRoute, ReplicaReport, RoutingTable
from kit.clock import Clock
from kit.problems import Problem
from registry.adapters.rollout_rows_sql import RolloutRows
from registry.adapters.tables import AUDIT, HEAD, MEMORY, MIRROR, REPLICAS, ROUTES, VERSIONS
from registry.domain.audit import Act, BrokenChain, Entry, chain, entry_of
from registry.domain.effects import Scene
from registry.domain.numbers import VERSION
from registry.domain.rollout import Rollout
from registry.domain.version import VersionRecord
from registry.ports import Numbers, Once, SeenReplica, Series

MEMORY_US = 7 * 86_400 * 1_000_000


class SqlTransaction(RolloutRows):
    """See ``registry.ports.Transaction``."""

    def __init__(self, connection: Connection, clock: Clock, numbers: Numbers) -> None:
        super().__init__(connection, clock)
        self._numbers = numbers
        self._undoing = False

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens inside is taken back at the end."""
        savepoint = self._db.begin_nested()
        self._undoing = True
        try:
            yield
        finally:
            self._undoing = False
            savepoint.rollback()

    # Idempotency

    def answer_to(self, once: Once) -> dict[str, Any] | None:
        """The answer that this key got before. Raises ``Problem`` for another request."""
        found = self._db.execute(
            select(MEMORY.c.request_digest, MEMORY.c.answer).where(
                MEMORY.c.principal == once.principal, MEMORY.c.key == once.key
            )
        ).first()
        if found is None:
            return None
        if found.request_digest != once.request_digest:
            raise Problem(
                ProblemCode.IDEMPOTENCY_MISMATCH, "This key was used for another request."
            )
        return dict(orjson.loads(found.answer))

    def remember(self, once: Once, answer: dict[str, Any]) -> None:
        """Keep the answer for the next time; keys are forgotten after a week."""
        wall_us = self._clock.wall_us()
        self._db.execute(delete(MEMORY).where(MEMORY.c.wall_us < wall_us - MEMORY_US))
        self._db.execute(
            insert(MEMORY).values(
                principal=once.principal,
                key=once.key,
                request_digest=once.request_digest,
                answer=orjson.dumps(answer).decode(),
                wall_us=wall_us,
            )
        )

    # Versions

    def models(self) -> list[str]:
        return list(
            self._db.execute(select(VERSIONS.c.model).distinct().order_by(VERSIONS.c.model))
            .scalars()
            .all()
        )

    def version(self, model: str, version: str) -> VersionRecord | None:
        found = self._text(
            select(VERSIONS.c.document).where(
                VERSIONS.c.model == model, VERSIONS.c.version == version
            )
        )
        return None if found is None else VersionRecord.model_validate_json(found)

    def versions(self, model: str | None = None) -> list[VersionRecord]:
        query = select(VERSIONS.c.document).order_by(VERSIONS.c.model, VERSIONS.c.ordinal)
        if model is not None:
            query = query.where(VERSIONS.c.model == model)
        return [
            VersionRecord.model_validate_json(text) for text in self._db.execute(query).scalars()
        ]

    def add_version(self, record: VersionRecord) -> None:
        ordinals = select(func.coalesce(func.max(VERSIONS.c.ordinal), 0)).where(
            VERSIONS.c.model == record.model
        )
        self._db.execute(
            insert(VERSIONS).values(
                model=record.model,
                version=record.version,
                ordinal=self._db.execute(ordinals).scalar_one() + 1,
                digest=record.digest,
                document=record.model_dump_json(),
            )
        )

    def put_version(self, record: VersionRecord) -> None:
        self._db.execute(
            update(VERSIONS)
            .where(VERSIONS.c.model == record.model, VERSIONS.c.version == record.version)
            .values(document=record.model_dump_json())
        )

    def next_number(self, series: Series, model: str, taken: Collection[int], of: str = "") -> int:
        number = self._numbers.next(series, model, taken, of)
        if not self._undoing:
            # Before the commit: a number that is lost with its transaction is only skipped.
            self._numbers.keep(series, model, number, of)
        return number

    def avoid_version(self, model: str, version: str) -> None:
        if re.fullmatch(NAME, model) and re.fullmatch(VERSION, version):
            self._numbers.keep("versions", model, int(version))

    # Routing

    def table(self) -> RoutingTable:
        head = self._db.execute(select(HEAD.c.epoch, HEAD.c.issued_us)).one()
        rows = self._db.execute(select(ROUTES.c.model, ROUTES.c.document).order_by(ROUTES.c.model))
        routes = {model: ModelRoute.model_validate_json(text) for model, text in rows}
        return RoutingTable(epoch=head.epoch, issued_us=head.issued_us, models=routes)

    def route(self, model: str) -> ModelRoute | None:
        found = self._text(select(ROUTES.c.document).where(ROUTES.c.model == model))
        return None if found is None else ModelRoute.model_validate_json(found)

    def put_route(self, model: str, route: ModelRoute | None) -> int:
        self._db.execute(delete(ROUTES).where(ROUTES.c.model == model))
        if route is not None:
            self._db.execute(insert(ROUTES).values(model=model, document=route.model_dump_json()))
        self._db.execute(update(HEAD).values(epoch=HEAD.c.epoch + 1, issued_us=self._now_us))
        return int(self._db.execute(select(HEAD.c.epoch)).scalar_one())

    # Audit

    def record(self, act: Act) -> Entry:
        seq, digest = self.audit_head()
        entry = chain(act, seq + 1, self._now_us, self._clock.wall_us(), digest)
        self._db.execute(
            insert(AUDIT).values(seq=entry.seq, model=entry.model, document=entry.model_dump_json())
        )
        self._db.execute(update(HEAD).values(audit_seq=entry.seq, audit_digest=entry.digest))
        return entry

    def entries(self, after: int = 0, limit: int = 1000, model: str | None = None) -> list[Entry]:
        columns = (AUDIT.c.seq, AUDIT.c.model, AUDIT.c.document)
        query = select(*columns).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq)
        if model is not None:
            query = query.where(AUDIT.c.model == model)
        return [_kept(*row) for row in self._db.execute(query.limit(limit))]

    def audit_head(self) -> tuple[int, str]:
        head = self._db.execute(select(HEAD.c.audit_seq, HEAD.c.audit_digest)).one()
        return int(head.audit_seq), str(head.audit_digest)

    # Replicas

    def replicas(self) -> list[SeenReplica]:
        rows = self._db.execute(select(REPLICAS.c.seen_wall_us, REPLICAS.c.document))
        return [SeenReplica(ReplicaReport.model_validate_json(text), seen) for seen, text in rows]

    def put_replica(self, report: ReplicaReport) -> None:
        self._db.execute(delete(REPLICAS).where(REPLICAS.c.replica == report.replica))
        self._db.execute(
            insert(REPLICAS).values(
                replica=report.replica,
                seen_wall_us=self._clock.wall_us(),
                document=report.model_dump_json(),
            )
        )

    # MLflow

    def mirrored_aliases(self, model: str) -> dict[str, str]:
        found = self._text(select(MIRROR.c.document).where(MIRROR.c.model == model))
        return {} if found is None else dict(orjson.loads(found))

    def put_mirrored_aliases(self, model: str, aliases: dict[str, str]) -> None:
        self._db.execute(delete(MIRROR).where(MIRROR.c.model == model))
        text = orjson.dumps(aliases).decode()
        self._db.execute(insert(MIRROR).values(model=model, document=text))

    # All that one act changes

    def scene(self, rollout: Rollout) -> Scene:
        candidate = self.version(rollout.model, rollout.candidate)
        baseline = self.version(rollout.model, rollout.baseline)
        route = self.route(rollout.model) or ModelRoute(arms=())  # of a retired model
        assert candidate is not None
        assert baseline is not None
        return Scene(rollout, route, candidate, baseline)

    def settle(self, before: Scene, after: Scene, act: Act) -> None:
        """Keep what differs between the scenes, and the act that made the difference."""
        self.put_rollout(after.rollout)
        if after.route != before.route:
            self.put_route(after.rollout.model, after.route)
        for old, new in (
            (before.candidate, after.candidate),
            (before.baseline, after.baseline),
        ):
            if new != old:
                self.put_version(new)
        self.record(act)


def _kept(seq: int, model: str, document: str) -> Entry:
    """The entry of a row, which is found by its model only while that is the entry's own."""
    entry = entry_of(document, seq)
    if entry.model != model:
        raise BrokenChain(seq, "is kept under another model")
    return entry
