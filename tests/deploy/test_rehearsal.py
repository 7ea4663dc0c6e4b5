"""The compose file's own commands and environments serve a model, on PostgreSQL and over TCP."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.deploy.rehearsal import Rehearsal, find_postgres, running_postgres
from tests.registry.conftest import doubling_model, manifest_of

POSTGRES = find_postgres()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(POSTGRES is None, reason="PostgreSQL is not installed"),
]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rehearsal, str]]:
    """The running services, and the admin key that was printed."""
    assert POSTGRES is not None
    compose = Rehearsal(tmp_path_factory.mktemp("compose"))
    with running_postgres(POSTGRES, compose.ports["postgres:5432"]), compose:
        compose.start_redis()
        compose.start("mlflow", ready="/health")
        for service in ("registry", "feature-store", "monitor", "inference"):
            compose.start(service)
        said = compose.once("first-keys")
        compose.start("gateway")
        yield compose, said.rsplit(" ", 1)[1].strip()


@pytest.fixture(scope="module")
def admin(rehearsal: tuple[Rehearsal, str]) -> Iterator[httpx.Client]:
    compose, key = rehearsal
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(
        base_url=compose.url("gateway"), headers=headers, trust_env=False, timeout=60
    ) as client:
        yield client


def asked_until_well(client: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
    """Ask again until the answer is 200; what was just published needs a moment to arrive."""
    deadline = time.monotonic() + 60
    while True:
        answer = client.request(method, url, **options)
        if answer.status_code == 200 or time.monotonic() > deadline:
            assert answer.status_code == 200, answer.text
            return answer
        time.sleep(0.2)


def test_a_published_model_answers_through_gateway_and_frames(admin: httpx.Client) -> None:
    published = admin.post(
        "/v1/models/delay/versions",
        files={
            "manifest": ("manifest", orjson.dumps(manifest_of()), "application/json"),
            "model.onnx": ("model.onnx", doubling_model(), "application/octet-stream"),
        },
    )
    assert published.status_code == 201, published.text
    promoted = admin.post(
        "/v1/models/delay/versions/1/transitions",
        json={"to": "production", "reason": "the first version"},
        headers={"if-match": "*"},
    )
    assert promoted.status_code == 200, promoted.text
    body = {"model": "delay", "instances": [{"plane": "N1", "x": 21.0}]}
    answer = asked_until_well(admin, "POST", "/predict", json=body)
    assert answer.json()["predictions"][0]["value"] == pytest.approx(42.0)


def test_mlflow_has_the_version_under_its_alias(
    rehearsal: tuple[Rehearsal, str], admin: httpx.Client
) -> None:
    compose, _ = rehearsal
    query = {"name": "delay", "alias": "production"}
    url = f"{compose.url('mlflow')}/api/2.0/mlflow/registered-models/alias"
    with httpx.Client(trust_env=False) as client:
        answer = asked_until_well(client, "GET", url, params=query)
    assert answer.json()["model_version"]["version"] == "1"


def test_mlflow_answers_to_its_name_in_compose_and_to_no_other(
    rehearsal: tuple[Rehearsal, str],
) -> None:
    compose, _ = rehearsal
    url = f"{compose.url('mlflow')}/api/2.0/mlflow/registered-models/search"
    port = compose.ports["mlflow:5000"]
    named = httpx.get(url, headers={"host": "mlflow"}, trust_env=False)
    with_port = httpx.get(url, headers={"host": f"127.0.0.1:{port}"}, trust_env=False)
    stranger = httpx.get(url, headers={"host": "evil.example"}, trust_env=False)
    assert (named.status_code, with_port.status_code) == (200, 200)
    assert stranger.status_code == 403


def test_the_stores_hold_what_the_services_wrote(
    rehearsal: tuple[Rehearsal, str], admin: httpx.Client
) -> None:
    compose, key = rehearsal
    audit = admin.get("/v1/audit")
    assert audit.status_code == 200
    assert "the first version" in audit.text
    assert not list(Path(compose.folder).rglob("registry.db"))  # it is in PostgreSQL
    assert not list(Path(compose.folder).rglob("mlflow.db"))
    assert re.fullmatch(r"ll_[a-z]+_\S+", key)
    for path in compose.folder.rglob("*.json"):
        assert key not in path.read_text(errors="replace")
