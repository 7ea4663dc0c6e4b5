"""How the registry's parts share what they run on."""

import asyncio
from pathlib import Path
from threading import Event

from contracts.manifest import FileEntry, Manifest
from kit.clock import FakeClock
from registry.app import Parts
from registry.ports import StagedFile
from tests.registry.conftest import doubling_model, manifest_of, settings_for


async def test_graphs_that_are_looked_at_for_long_keep_nobody_from_the_ledger(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    parts = Parts(settings_for(tmp_path), fake_clock)
    await parts.ledger.open()
    model = tmp_path / "model.onnx"
    model.write_bytes(doubling_model())
    entry = FileEntry(path="model.onnx", sha256="0" * 64, size_bytes=model.stat().st_size)
    manifest = Manifest.model_validate(manifest_of())
    looked_at = Event()
    for _ in range(8):
        parts.inspections.submit(looked_at.wait)
    look = parts.publish.inspector(manifest, [StagedFile(model, entry)])
    inspecting = asyncio.get_running_loop().create_task(look)
    try:
        async with asyncio.timeout(10):
            assert (await parts.announcer.beyond(None, 0)).models == {}
        assert not inspecting.done()
    finally:
        looked_at.set()
    assert (await inspecting).faults == []
    await parts.close()
