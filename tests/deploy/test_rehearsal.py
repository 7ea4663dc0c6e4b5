"""The compose file's own commands and environments serve a model, on PostgreSQL and over TCP."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.deploy.compose import SERVICES
from tests.deploy.rehearsal import Rehearsal, find_postgres, running_postgres
from tests.deploy.test_dashboards import dashboard_queries
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
        try:
            answer = client.request(method, url, **options)
        except httpx.ConnectError:  # it is being started
            assert time.monotonic() < deadline
        else:
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


PROMETHEUS = shutil.which("prometheus")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
ALWAYS_THERE = (
    "status: Up",
    "traffic: Requests by route",
    "traffic: Rows by version",
    "time: Seconds a second, by stage",
    "canary: Share of traffic",
    "saturation: Memory",
    "log: The monitor is behind by",
)
"""Panels that have something to show as soon as one prediction was answered."""


@pytest.fixture
def eyes(rehearsal: tuple[Rehearsal, str], admin: httpx.Client) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped and judged a platform which answers."""
    assert PROMETHEUS is not None
    assert ALERTMANAGER is not None
    compose, _ = rehearsal
    compose.start_eyes(PROMETHEUS, ALERTMANAGER)
    body = {"model": "delay", "instances": [{"plane": "N1", "x": 21.0}]}
    with httpx.Client(base_url=compose.url("prometheus"), trust_env=False, timeout=30) as client:
        asked_until_well(client, "GET", "/-/ready")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not seen_in_both(client):
            admin.post("/predict", json=body)
            time.sleep(0.2)
        yield client


def seen_in_both(client: httpx.Client) -> bool:
    """Both were scraped often enough for a rate; they are not scraped at the same moment."""
    rows = ("gateway_rows_total", "inference_rows_total")
    return all(query(client, f"rate({name}[5s]) > 0") for name in rows)


def query(client: httpx.Client, promql: str) -> list[Any]:
    filled = promql.replace("$__rate_interval", "30s").replace("$model", ".*")
    answer = client.get("/api/v1/query", params={"query": filled}).json()
    assert answer["status"] == "success", answer
    found = answer["data"]["result"]
    assert isinstance(found, list)
    return found


@pytest.mark.skipif(PROMETHEUS is None or ALERTMANAGER is None, reason="no Prometheus here")
def test_a_real_prometheus_finds_every_service_and_evaluates_everything_it_is_asked(
    rehearsal: tuple[Rehearsal, str], eyes: httpx.Client
) -> None:
    up = {one["metric"]["job"]: one["value"][1] for one in query(eyes, "sum by (job) (up)")}
    assert up == dict.fromkeys([*SERVICES.values(), "prometheus"], "1")

    shown = {where: bool(query(eyes, promql)) for where, promql in dashboard_queries()}
    assert {where for where in ALWAYS_THERE if not shown[where]} == set()

    groups = eyes.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["lastError"] for rule in rules if "lastError" in rule} == set()
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing == {"Heartbeat"}

    compose, _ = rehearsal
    with httpx.Client(base_url=compose.url("alertmanager"), trust_env=False) as alertmanager:
        deadline = time.monotonic() + 60
        heard: set[str] = set()
        while "Heartbeat" not in heard and time.monotonic() < deadline:
            told = asked_until_well(alertmanager, "GET", "/api/v2/alerts").json()
            heard = {alert["labels"]["alertname"] for alert in told}
        assert heard == {"Heartbeat"}
