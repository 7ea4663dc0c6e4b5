"""The commands of models, rollouts and the audit log, through a real gateway and registry."""

import asyncio
import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
import uvicorn

from contracts.identity import SERVICE_TOKEN_HEADER
from kit.clock import write_clock
from leadline.client import Client, ProblemError
from leadline.commands.rollout import look_again
from registry.app import build
from registry.settings import RegistrySettings
from tests.gateway.running import TOKEN, make_key, running_gateway
from tests.leadline.fake_gateway import fake_gateway
from tests.polling import until
from tests.registry.conftest import doubling_model, manifest_of, onnx_from, promote, publish
from tests.registry.scenes import report


@asynccontextmanager
async def running_registry(state: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A registry that listens, and a client of its own port."""
    settings = RegistrySettings(
        state_dir=state,
        service_token=TOKEN,
        mirror_s=3600.0,
        tick_s=0.05,
        monitor_url="http://127.0.0.1:1",
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build(settings), ws="none", log_config=None))
    serving = asyncio.get_running_loop().create_task(server.serve([listener]))
    try:
        await until(lambda: server.started or serving.done())
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={SERVICE_TOKEN_HEADER: TOKEN},
            trust_env=False,
        ) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def registry(tmp_path: Path, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A platform of a gateway and a registry, with version 1 serving and version 2 published."""
    admin = make_key(tmp_path, "root", "admin")
    reader = make_key(tmp_path, "eve", "registry:read")
    stranger = make_key(tmp_path, "mallory", "predict")
    async with (
        running_registry(tmp_path) as client,
        running_gateway(tmp_path, redis_url, registry_url=str(client.base_url)) as gateway,
    ):
        url = {"gateway": f"http://127.0.0.1:{gateway.port}"}
        (tmp_path / "endpoints.json").write_text(json.dumps(url))
        (tmp_path / "credentials.json").write_text(
            json.dumps({"admin_key": admin, "eve": reader, "mallory": stranger})
        )
        await publish(client, 2.0)
        await publish(client, 3.0)
        await promote(client, "1", "production")
        seen = report("1", "2").model_dump(mode="json")
        assert (await client.put("/v1/replicas/r1", json=seen)).is_success
        yield client


async def leadline(state: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "leadline", *arguments, "--state", str(state),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_models_are_listed_and_compared(registry: httpx.AsyncClient, tmp_path: Path) -> None:
    code, said = await leadline(tmp_path, "models", "list", "--json")
    assert code == 0, said
    assert json.loads(said)["models"][0]["production"] == "1"
    _, said = await leadline(tmp_path, "models", "diff", "delay", "1", "2", "--json")
    assert "files[model.onnx].sha256" in json.loads(said)
    wide = onnx_from(doubling_model())
    wide.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    await publish(registry, files={"model.onnx": wide.SerializeToString()})
    _, said = await leadline(tmp_path, "models", "diff", "delay", "1", "3", "--json")
    assert json.loads(said)["graph.inputs.input"] == ["FP32 [-1, 1]", "FP32 [-1, -1]"]
    _, said = await leadline(tmp_path, "models", "diff", "delay", "1", "2")
    assert "files[model.onnx]" in said


async def test_a_rollout_is_started_watched_and_taken_back(
    registry: httpx.AsyncClient, tmp_path: Path
) -> None:
    code, said = await leadline(
        tmp_path, "rollout", "start", "delay", "2", "--preset", "fast", "--reason", "it is better"
    )
    assert code == 0, said
    assert "leadline rollout watch ro-delay-1" in said
    for _ in range(100):
        found = (await registry.get("/v1/rollouts/ro-delay-1")).json()
        if found["verdict"] and found["verdict"]["reason"] == "monitor_away":
            break
        await registry.get("/v1/replicas")
    code, said = await leadline(tmp_path, "rollout", "watch", "--once")
    assert code == 0, said
    assert "the monitor does not answer" in said
    assert "100%" in said
    drill = ("rollout", "rollback", "ro-delay-1", "--reason", "a drill [/]")
    code, said = await leadline(tmp_path, *drill, "--dry-run")
    assert (code, said) == (0, "ro-delay-1 would be rolled_back at step 1.\n")
    code, said = await leadline(tmp_path, *drill)
    assert (code, said) == (0, "ro-delay-1 is rolled_back at step 1.\n")
    code, said = await leadline(tmp_path, "rollout", "list")
    assert "rolled_back" in said
    assert "a drill [/]" in said  # not what the controller said last
    code, said = await leadline(tmp_path, "rollout", "explain", "ro-delay-1")
    assert "Rolled back" in said
    assert "a drill [/]" in said
    code, said = await leadline(tmp_path, "audit", "list")
    assert code == 0, said
    assert "delay/1 → production" in said


async def test_what_is_mistyped_is_told_in_a_sentence(
    registry: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "nan.json").write_text('{"alpha": NaN}')
    because, start = ("--reason", "because"), ("rollout", "start", "delay")
    arms = ("--arm", "control=1:nan", "--arm", "new=2:0.5")
    for arguments, wanted in {
        ("models", "rollback", "dalay", *because): "There is no such model. (not-found",
        ("models", "move", "dalay", "1", "archived", *because): "There is no such model. (not-",
        (*start, "7", *because): "There is no such version; the newest of delay is 2. (not-found",
        (*start, "2", "--plan", str(tmp_path / "torn.json"), *because): "torn.json is not JSON: ",
        (*start, "2", "--plan", str(tmp_path / "nan.json"), *because): "This cannot be asked: ",
        ("experiment", "start", "delay", *arms, *because): "This cannot be asked: Out of range",
        ("models", "show", "del\nay"): "This cannot be asked: Invalid non-printable",
    }.items():
        code, said = await leadline(tmp_path, *arguments)
        assert code in (1, 2), said
        assert wanted in said
        assert "Traceback" not in said


async def test_an_override_and_its_rollback_are_one_command_each(
    registry: httpx.AsyncClient, tmp_path: Path
) -> None:
    code, said = await leadline(
        tmp_path, "models", "override", "delay", "2", "--reason", "on my word"
    )
    assert code == 0, said
    assert "leadline rollout watch ro-delay-1" in said
    await until(lambda: _is_production(registry, "2"))
    code, said = await leadline(tmp_path, "models", "rollback", "delay", "--reason", "I was wrong")
    assert (code, said.strip()) == (0, "ro-delay-1 is taken back; version 1 answers."), said
    assert await _is_production(registry, "1")


async def _is_production(registry: httpx.AsyncClient, version: str) -> bool:
    return bool((await registry.get("/v1/models/delay")).json()["production"] == version)


@pytest.mark.parametrize("who", ["eve", "mallory"])
async def test_a_refused_promotion_is_told_by_the_gateway_and_kept_in_the_audit_log(
    registry: httpx.AsyncClient, tmp_path: Path, who: str
) -> None:
    keys = json.loads((tmp_path / "credentials.json").read_text())
    (tmp_path / "credentials.json").write_text(json.dumps({"admin_key": keys[who]}))
    code, said = await leadline(tmp_path, "rollout", "start", "delay", "2", "--reason", "i want to")
    assert code == 1
    assert "registry:promote" in said
    last = (await registry.get("/v1/audit")).json()["entries"][-1]
    assert (last["actor"], last["action"]) == (who, "rollout.start_refused")


async def test_the_audit_log_is_verified_here_and_a_change_shows(
    registry: httpx.AsyncClient, tmp_path: Path
) -> None:
    code, said = await leadline(tmp_path, "audit", "verify")
    assert code == 0, said
    assert "Intact: 3 entries." in said
    head = said.split("--head ")[1].strip()
    export = tmp_path / "audit.jsonl"
    await leadline(tmp_path, "audit", "export", "--out", str(export))
    lines = export.read_text().splitlines()
    code, said = await leadline(tmp_path, "audit", "export", "--out", str(tmp_path / "no" / "a"))
    assert (code, said.splitlines()[-1][-26:]) == (1, " No such file or directory"), said
    export.write_text("\n".join(lines[:-1]))
    code, said = await leadline(tmp_path, "audit", "verify", "--file", str(export), "--head", head)
    assert code == 1
    assert "the log ends here" in said
    with closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as database, database:
        database.execute("UPDATE audit SET document = replace(document, 'platform', 'nobody')")
    code, said = await leadline(tmp_path, "audit", "verify")
    assert code == 1
    assert "entry 1: was changed" in said
    export.write_bytes(b"\xff\xfe this is no entry\n")
    code, said = await leadline(tmp_path, "audit", "verify", "--file", str(export))
    assert (code, said.strip()) == (1, "BROKEN: entry 1: cannot be read.")
    with closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as database, database:
        database.execute("UPDATE audit SET document = 'nonsense' WHERE seq = 2")
    code, said = await leadline(tmp_path, "audit", "verify")
    assert (code, said.strip()) == (1, "BROKEN: entry 2: cannot be read.")


async def test_a_run_is_published_by_its_uri(registry: httpx.AsyncClient, tmp_path: Path) -> None:
    run_id = await asyncio.to_thread(_logged_run, tmp_path / "mlflow")
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"training": manifest_of()["training"]}))
    command = ("models", "publish", f"runs:/{run_id}/model", "--name", "doubling")
    code, said = await leadline(tmp_path, *command)
    assert code == 1
    assert "training.git_commit" in said
    code, said = await leadline(tmp_path, *command, "--manifest", str(given))
    told = said.splitlines()
    assert (code, told[0]) == (0, "doubling version 1 published."), said
    assert "Note: without golden.json, loading cannot prove that answers are still right." in told
    code, said = await leadline(tmp_path, *command[:3])
    assert (code, "A run needs --name." in said) == (2, True)


def _logged_run(folder: Path) -> str:
    import mlflow

    folder.mkdir(exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    place = mlflow.create_experiment("mine", artifact_location=(folder / "1").as_uri())
    with mlflow.start_run(experiment_id=place) as run:
        graph = folder / "model.onnx"
        graph.write_bytes(doubling_model())
        mlflow.log_artifact(str(graph), "model")
    return str(run.info.run_id)


def test_a_watch_goes_on_while_the_registry_is_away_and_not_after_a_refusal(
    tmp_path: Path,
) -> None:
    write_clock(tmp_path / "clock", 0)
    with fake_gateway(tmp_path / "clock") as gateway, Client(gateway.url, "key") as client:
        gateway.says["/v1/rollouts/ro-1"] = {"status": "running"}
        gateway.says["/v1/rollouts/ro-1/decisions"] = {"decisions": []}
        gateway.refuse["/v1/rollouts"] = [503, 504, 403]
        assert look_again(client, "ro-1") is None
        assert look_again(client, "ro-1") is None
        with pytest.raises(ProblemError):
            look_again(client, "ro-1")
        assert look_again(client, "ro-1") == ({"status": "running"}, [])
    with Client(gateway.url, "key") as client:
        assert look_again(client, "ro-1") is None
