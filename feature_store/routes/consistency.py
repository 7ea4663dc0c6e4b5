"""``/v1/features/consistency``: is what is online, and what was served, what the log says?"""

from typing import Annotated, Any, get_args

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from contracts.identity import Caller
from contracts.problems import ProblemCode
from feature_store.domain.parity import SEQ_MAX, Class, Served
from feature_store.domain.schema import TIME_US_MAX, TIME_US_MIN
from feature_store.replay import OtherDefinitions, Replayer, Tally
from feature_store.routes.knowledge import view_named
from feature_store.verify import Audit, Verifier
from kit.identity import needs
from kit.problems import Problem
from kit.redis_pipeline import RedisAway
from shared_features import Catalogue

SAMPLES_MAX = 100


class ServedRow(BaseModel):
    """One row as it was served."""

    model_config = ConfigDict(extra="forbid")

    keys: dict[str, Any]
    at_us: int = Field(ge=TIME_US_MIN, lt=TIME_US_MAX)
    applied_seq: int = Field(ge=0, le=SEQ_MAX)
    values: dict[str, float | int | str | bool | None] = Field(min_length=1, max_length=200)


class ServedSamples(BaseModel):
    """Rows to be judged."""

    model_config = ConfigDict(extra="forbid")

    samples: list[ServedRow] = Field(min_length=1, max_length=SAMPLES_MAX)


def router(catalogue: Catalogue, verifier: Verifier, replayer: Replayer) -> APIRouter:
    """The routes of proofs."""
    routes = APIRouter(tags=["features"])

    @routes.get("/v1/features/consistency")
    async def consistency(
        _caller: Annotated[Caller, needs("features:read")], view: str | None = None
    ) -> dict[str, Any]:
        """Whether what is online is what the log says.

        With ``view`` every key of it is compared now; without come the last results, and what the
        replay of served rows has found since the service started.
        """
        if view is None:
            audits = [_audited(audit) for audit in verifier.audits.values()]
            return {"views": audits, "served": _replayed(replayer.tally)}
        view_named(catalogue, view)
        try:
            return _audited(await verifier.audit(view))
        except (RedisAway, TimeoutError) as error:
            raise Problem(
                ProblemCode.DEPENDENCY_UNAVAILABLE, "The online store is away."
            ) from error

    @routes.post("/v1/features/consistency")
    async def check_served(
        body: ServedSamples, _caller: Annotated[Caller, needs("features:read")]
    ) -> dict[str, Any]:
        """Judge rows that were served: match, stale, or mismatch, for each ref."""
        samples = [Served(one.keys, one.at_us, one.applied_seq, one.values) for one in body.samples]
        try:
            return {"verdicts": await replayer.judge(samples)}
        except OtherDefinitions as error:
            raise Problem(ProblemCode.NOT_FOUND, "A feature is not defined.") from error
        except ValueError as error:
            raise Problem(ProblemCode.INVALID_INPUT, f"{str(error).rstrip('.')}.") from error

    return routes


def _audited(audit: Audit) -> dict[str, Any]:
    return {
        "view": audit.view,
        "keys": audit.keys,
        "applied_seq": audit.applied_seq,
        "differing_buckets": audit.differing_buckets,
        "mismatches": [[str(part) for part in key] for key in audit.mismatches],
        "mismatches_total": audit.mismatches_total,
        "orphans": audit.orphans,
    }


def _replayed(tally: Tally) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        **{f"values_{verdict}": tally.values[verdict] for verdict in get_args(Class)},
        "mismatches": list(tally.mismatches),
        "lag_s": tally.lag_s,
    }
