"""The examples of the pages for developers and operators work on a running platform."""

import json
from typing import Any

import httpx

from leadline.client import Client, ProblemError
from leadline.demo.sample import SAMPLE_INSTANCE
from leadline.state import StateDir
from tests.docs.pages import ROOT, blocks
from tests.platform.test_readme import shell
from tests.polling import until

PREDICT, OPERATE, DEMO = (ROOT / f"docs/{page}.md" for page in ("predict", "operate", "demo"))


def test_the_prediction_and_its_label(demo_user: Client) -> None:
    ask, label = (json.loads(block) for block in blocks(PREDICT, "json"))
    answer = demo_user.post("/predict", ask)
    members = {"request_id", "model", "version", "variant", "predictions", "cache"}
    assert members <= set(answer)
    assert len(answer["predictions"]) == len(ask["instances"])

    label["labels"][0]["request_id"] = answer["request_id"]
    first = demo_user.post("/v1/labels", label)
    again = demo_user.post("/v1/labels", label)
    assert {"joined", "waiting"} & {name for name, count in first["outcomes"].items() if count}
    assert again["outcomes"]["unchanged"] == 1


def test_the_client_from_python(platform: StateDir) -> None:
    (source,) = [block for block in blocks(PREDICT, "python") if "leadline.client" in block]
    given: dict[str, Any] = {
        "url": platform.read_endpoints()["gateway"],
        "key": platform.read_credentials()["demo_key"],
    }
    exec(compile(source, str(PREDICT), "exec"), given)  # noqa: S102 - our own page
    assert given["answer"]["features"]


def test_tritons_client_asks_as_the_page_says(platform: StateDir) -> None:
    (source,) = [block for block in blocks(PREDICT, "python") if "tritonclient" in block]
    given: dict[str, Any] = {
        "gateway": platform.read_endpoints()["gateway"].removeprefix("http://"),
        "key": platform.read_credentials()["demo_key"],
    }
    exec(compile(source, str(PREDICT), "exec"), given)  # noqa: S102 - our own page
    assert given["answer"].as_numpy("probabilities").shape == (1, 2)


async def test_what_the_demos_page_asks_meanwhile_is_answered(
    platform: StateDir, demo_user: Client
) -> None:
    def seen() -> bool:
        try:
            return bool(demo_user.get("/v1/drift/delay")["versions"])
        except ProblemError:
            return False

    demo_user.predict("delay", [SAMPLE_INSTANCE])
    await until(seen)
    (script,) = blocks(DEMO, "sh")
    said = shell(platform, script)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count('"model":"delay"') == 2
    assert "NOT READY" not in said.stdout


def test_the_key_that_an_operator_makes(platform: StateDir) -> None:
    (script,) = [block for block in blocks(OPERATE, "sh") if "/v1/keys" in block]
    key = platform.read_credentials()["admin_key"]
    made = shell(platform, 'eval "$(leadline env)"', f"ADMIN_KEY={key}", script)
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    gateway = platform.read_endpoints()["gateway"]
    headers = {"x-api-key": answer["key"]}
    body = {"model": "delay", "instances": [{}]}
    allowed = httpx.post(f"{gateway}/predict", json=body, headers=headers, trust_env=False)
    denied = httpx.get(f"{gateway}/v1/audit", headers=headers, trust_env=False)
    assert allowed.status_code not in {401, 403}
    assert denied.status_code == 403
