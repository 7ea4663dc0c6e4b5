"""What a replica believes of the registry, and what of its own disk."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from contracts.manifest import Manifest
from inference.adapters.registry_http import HttpRegistry
from inference.ports import RegistryAway
from tests.inference.parts import logistic_model, manifest_for

BEFORE, AFTER = (manifest_for(logistic_model([weight] * 10)) for weight in (0.1, 0.2))


class Registry:
    """Has one version, whatever its number; None: it is away."""

    def __init__(self) -> None:
        self.manifest: Manifest | None = BEFORE
        self.status = 200
        self.asked = 0

    def answer(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.manifest is None:
            raise httpx.ConnectError("away")
        return httpx.Response(self.status, text=self.manifest.model_dump_json())


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
async def asking(registry: Registry, tmp_path: Path) -> AsyncIterator[HttpRegistry]:
    transport = httpx.MockTransport(registry.answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield HttpRegistry(client, tmp_path)


async def test_a_restored_registry_is_believed_about_a_number_that_stood_for_another_version(
    registry: Registry, asking: HttpRegistry
) -> None:
    assert await asking.manifest("risk", "3") == BEFORE
    registry.manifest = AFTER
    assert await asking.manifest("risk", "3") == AFTER
    registry.manifest = None
    assert await asking.manifest("risk", "3") == AFTER


@pytest.mark.parametrize("lost", ["away", "unknown"])
async def test_a_version_seen_before_is_loaded_from_disk_without_the_registry(
    registry: Registry, asking: HttpRegistry, lost: str
) -> None:
    await asking.manifest("risk", "3")
    if lost == "away":
        registry.manifest = None
    else:
        registry.status = 404
    assert await asking.manifest("risk", "3") == BEFORE
    with pytest.raises(RegistryAway):
        await asking.manifest("risk", "4")


async def test_a_start_goes_by_the_disk_and_asks_nobody(
    registry: Registry, asking: HttpRegistry
) -> None:
    await asking.manifest("risk", "3", kept=True)
    assert await asking.manifest("risk", "3", kept=True) == BEFORE
    assert registry.asked == 1
