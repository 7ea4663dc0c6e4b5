"""The whole loop on real flights: ask, record, label, judge."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from leadline.client import Client, ProblemError
from leadline.commands.doctor import doctor
from leadline.demo.sample import BEGINS, SAMPLE_INSTANCE
from leadline.state import StateDir
from tests.platform.asking import flight
from tests.polling import until


def test_a_prediction_comes_from_the_production_version_with_its_probability(
    demo_user: Client,
) -> None:
    answer = demo_user.predict("delay", [SAMPLE_INSTANCE])
    assert answer["model"] == "delay"
    assert answer["variant"] == "production"
    assert 0.0 < answer["predictions"][0]["probability"] < 1.0
    assert len(answer["request_id"]) == 32


def test_a_batch_keeps_its_order_and_equals_single_requests(demo_user: Client) -> None:
    flights = [flight(index) for index in range(20)]
    whole = demo_user.predict("delay", flights)["predictions"]
    single = [demo_user.predict("delay", [one])["predictions"][0] for one in flights]
    assert whole == single


def test_explained_features_come_from_the_store_with_status_and_age(demo_user: Client) -> None:
    answer = demo_user.predict("delay", [SAMPLE_INSTANCE], explain_features=True)
    assert answer["features"][0]


async def test_a_served_prediction_is_monitored_labelled_and_judged(
    admin: Client, demo_user: Client
) -> None:
    before, labelled = _rows(admin), _labelled(admin)
    asked = [demo_user.predict("delay", [flight(index) for index in range(100)]) for _ in range(5)]
    await until(lambda: _rows(admin) >= before + 500, limit_s=30)

    (version,) = admin.get("/v1/drift/delay")["versions"]
    tested = version["columns"]
    features = {"local_hour", "weekday", "distance", "carrier", "origin"}
    assert set(tested) == features | {"@prediction", "@confidence"}
    assert all(0 <= row["distance"] <= 1 and 0 <= row["p"] <= 1 for row in tested.values())
    assert len(version["baseline_sha256"]) == 64

    landed = (BEGINS + timedelta(hours=14)).astimezone(UTC)
    labels = [
        {
            "model": "delay",
            "request_id": answer["request_id"],
            "row": row,
            "label": row % 3 == 0,
            "event_time": landed.isoformat(),
        }
        for answer in asked
        for row in range(100)
    ]
    demo_user.post("/v1/labels", {"labels": labels})
    demo_user.post("/v1/labels", {"labels": labels})  # the same again changes nothing
    await until(lambda: _labelled(admin) >= labelled + 500, limit_s=30)
    (quality,) = admin.get("/v1/quality/delay")["versions"]
    assert quality["n"] == labelled + 500
    low, high = quality["accuracy_interval"]
    assert low < quality["accuracy"] < high


def _rows(admin: Client) -> int:
    return sum(version["rows"] for version in admin.get("/v1/drift/delay")["versions"])


def _labelled(admin: Client) -> int:
    return sum(version.get("n", 0) for version in admin.get("/v1/quality/delay")["versions"])


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"authorization": ""}, b"{}", 401, "unauthenticated"),
        ({"authorization": "Bearer ll_local_x_y_z"}, b"{}", 401, "unauthenticated"),
        ({}, b"{", 400, "malformed-json"),
        ({}, b'{"model": "delay", "instances": [{"distance": NaN}]}', 400, "malformed-json"),
        ({}, b'{"model": "nosuch", "instances": [{}]}', 404, "not-found"),
        ({}, b'{"model": "delay", "instances": "all"}', 422, "invalid-input"),
        ({}, b'{"model": "delay", "instances": []}', 422, "invalid-input"),
        ({}, b'{"model": "delay"}', 422, "invalid-input"),
        ({}, b"[]", 422, "invalid-input"),
    ],
)
def test_a_bad_request_is_the_problem_of_the_catalogue(
    platform: StateDir, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    key = platform.read_credentials()["demo_key"]
    answer = httpx.post(
        platform.read_endpoints()["gateway"] + "/predict",
        content=body,
        headers={"authorization": f"Bearer {key}", "content-type": "application/json", **headers},
        trust_env=False,
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "change",
    [
        {"scheduled_departure": None},
        {"scheduled_departure": "tomorrow"},
        {"scheduled_departure": 5},
        {"distance": "1400"},
        {"distance": True},
        {"carrier": 7},
        {"tailnum": ["N1"]},
    ],
)
def test_a_wrong_or_missing_field_is_named_and_never_a_500(
    demo_user: Client, change: dict[str, Any]
) -> None:
    instance = {**SAMPLE_INSTANCE, **change}
    with pytest.raises(ProblemError) as refused:
        demo_user.predict("delay", [{k: v for k, v in instance.items() if v is not None}])
    assert refused.value.status == 422
    assert next(iter(change)) in str(refused.value.body)


def test_an_unknown_entity_is_answered_by_the_declared_default(demo_user: Client) -> None:
    stranger = {**SAMPLE_INSTANCE, "tailnum": "NEVER", "dest": "XXX"}
    answer = demo_user.predict("delay", [stranger], explain_features=True)
    assert 0 < answer["predictions"][0]["probability"] < 1


def test_the_doctor_finds_nothing(platform: StateDir) -> None:
    said = CliRunner().invoke(doctor, ["--state", str(platform.root)])
    assert said.exit_code == 0, said.output
    for sentence in ("gateway at", "files of versions: all there", "audit log: as it was written"):
        assert sentence in said.output


def test_business_time_of_the_demo_is_december_2013(admin: Client) -> None:
    as_of_us = admin.get("/v1/drift/delay")["as_of_us"]
    assert datetime.fromtimestamp(as_of_us / 1e6, UTC).date() == BEGINS.date()
