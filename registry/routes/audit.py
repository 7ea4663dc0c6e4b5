"""The audit log, to read and to check."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from registry.audit import Audit
from registry.routes.asking import Reader


def router(audit: Audit) -> APIRouter:
    """The routes of the audit log, bound to their verb."""
    routes = APIRouter(prefix="/v1", tags=["audit"])

    @routes.get("/audit")
    async def entries(
        _caller: Reader,
        after: Annotated[
            int, Query(ge=0, lt=2**63, description="The cursor: the last seq seen.")
        ] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        model: Annotated[str | None, Query(max_length=63)] = None,
    ) -> dict[str, Any]:
        """Entries in order, oldest first."""
        page = await audit.page(after, limit, model)
        return {
            "entries": [entry.model_dump(mode="json") for entry in page],
            "next": page[-1].seq if len(page) == limit else None,
        }

    @routes.get("/audit/head")
    async def head(_caller: Reader) -> dict[str, Any]:
        """The last entry's number and digest: keep it elsewhere."""
        return await audit.head()

    @routes.get("/audit/verify")
    async def verify(_caller: Reader) -> dict[str, Any]:
        """Recompute the chain of digests from the first entry to the head."""
        return await audit.verify()

    return routes
