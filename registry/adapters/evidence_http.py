"""Asks the monitor for evidence over HTTP."""

import httpx
from pydantic import ValidationError

from contracts.evidence import Evidence, EvidenceQuery
from kit.logs import get_logger

_log = get_logger(__name__)


class HttpEvidence:
    """See ``registry.ports.EvidenceSource``. The client carries the token and the deadline."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(self, query: EvidenceQuery) -> Evidence | None:
        """None when there is no answer in time, or not one we understand."""
        try:
            answer = await self._client.post(
                "/v1/evidence",
                content=query.model_dump_json().encode(),
                headers={"content-type": "application/json"},
            )
            answer.raise_for_status()
            return Evidence.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as failure:
            _log.warning("evidence_away", rollout=query.rollout_id, why=type(failure).__name__)
            return None
