"""A replica killed in mid-work: what it acknowledged is in the stream afterwards."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import redis

from contracts.served import STREAM, decode_served
from inference.settings import InferenceSettings
from tests.inference.parts import body
from tests.inference.test_app import Gateway, running, settings  # noqa: F401 - a fixture
from tests.polling import until

ROOT = Path(__file__).parents[2]
NOBODY = "redis://127.0.0.1:1"


async def start(own: InferenceSettings) -> tuple[subprocess.Popen[bytes], Gateway]:
    """A replica in its own process, its Redis away, and a connection to it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LEADLINE_STATE_DIR": str(own.state_dir),
        "LEADLINE_REDIS_URL": NOBODY,
        "LEADLINE_REGISTRY_URL": own.registry_url,
        "LEADLINE_FEATURE_MODULES": own.feature_modules[0],
        "LEADLINE_INFERENCE_FRAMES": own.inference_frames[0],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "inference"], env=environment, stderr=subprocess.DEVNULL
    )
    path = own.inference_frames[0].removeprefix("unix://")
    await until(lambda: Path(path).exists())
    _, gateway = await asyncio.get_running_loop().create_unix_connection(Gateway, path)
    return process, gateway


async def test_what_was_answered_before_a_kill_is_in_the_stream_after_the_restart(
    settings: InferenceSettings,  # noqa: F811 - the fixture
) -> None:
    process, gateway = await start(settings)
    try:
        for frame_id in range(1, 401):
            gateway.send(frame_id, orjson.dumps(body("a")))
        await until(lambda: len(gateway.answers) >= 100)
        process.send_signal(signal.SIGKILL)
        await until(lambda: gateway.lost)
    finally:
        process.kill()
        process.wait(10)
    answered = {
        frame_id.to_bytes(16, "big")
        for frame_id, answer in gateway.answers.items()
        if answer.status == 200
    }
    assert len(answered) >= 100
    async with running(settings) as (inference, _):
        await until(lambda: inference.spool.bytes_waiting == 0)
    with redis.Redis.from_url(settings.redis_url) as client:
        entries = [entry for _, entry in client.xrange(STREAM)]
    recorded = [row.tobytes() for e in entries for row in decode_served(e[b"d"]).request_id]
    assert answered <= set(recorded)
    assert len(recorded) == len(set(recorded))
    sequences = [int(entry[b"s"]) for entry in entries]
    assert sequences == list(range(1, len(sequences) + 1))
