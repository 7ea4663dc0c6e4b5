"""Versions from the shell: what is shown of them."""

import json
from pathlib import Path

from click.testing import CliRunner

from kit.clock import write_clock
from leadline.commands.models import models
from tests.leadline.fake_gateway import fake_gateway


def test_whoever_retires_a_model_is_told_what_its_callers_get_and_how_it_comes_back(
    tmp_path: Path,
) -> None:
    write_clock(tmp_path / "clock", 0, 0)
    with fake_gateway(tmp_path / "clock") as gateway:
        path = "/v1/models/risk/versions/1"
        gateway.says[path] = {"state": "production", "revision": 2}
        for dry_run in ("false", "true"):
            gateway.says[f"{path}/transitions?dry_run={dry_run}"] = {"state": "archived"}
        (tmp_path / "endpoints.json").write_text(json.dumps({"gateway": gateway.url}))
        (tmp_path / "credentials.json").write_text(json.dumps({"admin_key": "k"}))
        move = ["move", "risk", "1", "archived", "--reason", "sold", "--state", str(tmp_path)]
        done = CliRunner().invoke(models, move)
        tried = CliRunner().invoke(models, [*move, "--dry-run"])
    assert done.output.splitlines() == [
        "risk version 1 is archived.",
        "Nothing of risk answers now; its callers get 404. To bring it back:",
        f"leadline models move risk 1 production --state {tmp_path} --reason ...",
    ]
    assert tried.output.startswith(
        "risk version 1 would be archived.\nNothing of risk answers then"
    )


def test_a_version_that_is_not_loaded_is_shown_with_the_reason(tmp_path: Path) -> None:
    write_clock(tmp_path / "clock", 0, 0)
    version = {
        "version": "1", "state": "production", "since_us": 0, "reason": "the first",
        "dataset": "flights@1", "metrics": {}, "published_by": "ann",
        "replicas": [
            {"replica": "inference", "state": "ready", "reason": ""},
            {"replica": "inference-2", "state": "failed", "reason": "wrong sha256 [of a file]"},
        ],
    }  # fmt: skip
    with fake_gateway(tmp_path / "clock") as gateway:
        gateway.says["/v1/models/risk"] = {"versions": [version]}
        (tmp_path / "endpoints.json").write_text(json.dumps({"gateway": gateway.url}))
        (tmp_path / "credentials.json").write_text(json.dumps({"admin_key": "k"}))
        shown = CliRunner().invoke(models, ["show", "risk", "--state", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    last = shown.output.splitlines()[-1]
    assert last == "Version 1 is not loaded by inference-2: wrong sha256 [of a file]"
