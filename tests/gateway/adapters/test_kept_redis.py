from collections.abc import AsyncIterator

import pytest

from gateway.adapters.kept_redis import KeptRedis
from kit.redis_pipeline import PipelinedRedis
from tests.polling import until

A_MINUTE = 60_000


@pytest.fixture
async def kept(redis_url: str) -> AsyncIterator[KeptRedis]:
    connection = PipelinedRedis(redis_url, timeout_ms=2_000)
    await connection.start()
    yield KeptRedis(connection)
    await connection.stop()


async def found(kept: KeptRedis, name: str) -> bytes | None:
    return await kept.claim(name, b"another's", A_MINUTE)


async def test_a_name_is_claimed_once_and_then_holds_the_answer(kept: KeptRedis) -> None:
    assert await kept.claim("a", b"mine", A_MINUTE) is None
    assert await found(kept, "a") == b"mine"
    await kept.keep("a", b"mine", b"answer", A_MINUTE)
    assert await found(kept, "a") == b"answer"
    assert await found(kept, "b") is None


async def test_a_released_name_is_free(kept: KeptRedis) -> None:
    await kept.claim("a", b"mine", A_MINUTE)
    await kept.release("a", b"mine")
    assert await found(kept, "a") is None


async def test_who_holds_no_claim_changes_nothing(kept: KeptRedis) -> None:
    await kept.keep("a", b"mine", b"answer", A_MINUTE)
    assert await kept.claim("a", b"yours", A_MINUTE) is None
    await kept.keep("a", b"mine", b"answer", A_MINUTE)
    await kept.release("a", b"mine")
    assert await found(kept, "a") == b"yours"


async def test_claims_and_answers_end_with_their_time(kept: KeptRedis) -> None:
    async def gone() -> bool:
        return await found(kept, "a") is None

    assert await kept.claim("a", b"mine", 1) is None
    await until(gone)
    await kept.keep("a", b"another's", b"answer", 1)
    await until(gone)
