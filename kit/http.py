"""The one HTTP client between services: deadlines always, retries never, the service token."""

import httpx

from contracts.identity import SERVICE_TOKEN_HEADER


def internal_client(
    base_url: str, service_token: str, timeout_s: float = 5.0, connections_max: int = 32
) -> httpx.AsyncClient:
    """A client for one neighbour. Constructing does no I/O; the caller closes it."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={SERVICE_TOKEN_HEADER: service_token},
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 1.0)),
        limits=httpx.Limits(max_connections=connections_max, keepalive_expiry=15.0),
        follow_redirects=False,
        trust_env=False,
    )
