"""The one way to make a redis-py client: time-outs always set, no hidden retries, one use each."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, *, purpose: str, timeout_ms: float, connections_max: int = 16) -> Redis:
    """A client for one purpose; separate pools, so that a stalled use does not starve another.

    redis-py's own defaults turn a stalled server into a request of more than 90 s. Constructing
    does no I/O. Blocking reads (XREADGROUP BLOCK) need a ``timeout_ms`` above their block time.
    """
    return Redis.from_url(
        url,
        client_name=f"leadline-{purpose}",
        socket_timeout=timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
        retry=Retry(NoBackoff(), 0),
        max_connections=connections_max,
        decode_responses=False,
        protocol=2,
    )
