from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.authenticate import Authenticate
from gateway.domain.gcra import Policy
from kit.clock import FakeClock, SystemClock
from tests.gateway.issuer import ISSUER, FakeRing, Jwks, fetching
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory of one gateway."""
    return tmp_path


@pytest.fixture
def key(state: Path) -> str:
    """A key that may ask every model."""
    return make_key(state, "ann", "predict")


@pytest.fixture
async def replica(state: Path) -> AsyncIterator[FakeReplica]:
    """A replica that answers with what it was asked."""
    fake = FakeReplica(state / "r0.sock")
    await fake.start()
    yield fake
    await fake.stop()
    assert fake.faults == []


@pytest.fixture
async def gateway(
    state: Path, key: str, replica: FakeReplica, redis_url: str
) -> AsyncIterator[Running]:
    """A gateway with one replica and the key. A busy machine is no Redis that is away: what is then
    borne is told in ``test_redis_away``."""
    options = {"inference_frames": (replica.address,), "limiter_timeout_ms": 2_000}
    async with running_gateway(state, redis_url, **options) as running:
        await running.ready()
        yield running


@pytest.fixture
def ring() -> FakeRing:
    return FakeRing()


@pytest.fixture
def jwks() -> Jwks:
    return Jwks()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SystemClock().wall_us())


@pytest.fixture
async def authenticate(ring: FakeRing, jwks: Jwks, clock: FakeClock) -> AsyncIterator[Authenticate]:
    async with fetching(jwks, clock) as keys:
        yield Authenticate(ring, keys, [ISSUER], Policy(100, 60), clock)
