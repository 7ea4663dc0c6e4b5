"""A model that cannot be loaded is mended through the platform, so the platform has to start."""

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from leadline.local.platform import Platform, failed_models
from leadline.state import StateDir

TRIED = "model risk is not loaded: the bytes do not have the sha256 that the manifest says"


def _answer(missing: Any) -> httpx.Response:
    return httpx.Response(503, json={"ready": False, "missing": missing})


def test_models_that_were_tried_and_failed_are_told() -> None:
    assert failed_models(_answer([TRIED])) == [TRIED]


@pytest.mark.parametrize(
    "missing",
    [
        ["no routing table yet"],
        ["model risk is not loaded"],
        [TRIED, "the event loop was blocked"],
        [],
    ],
)
def test_a_replica_that_still_tries_or_lacks_more_is_waited_for(missing: list[str]) -> None:
    assert failed_models(_answer(missing)) == []


def test_an_answer_of_something_else_is_no_failed_model() -> None:
    assert failed_models(httpx.Response(502, text="<html>")) == []
    assert failed_models(httpx.Response(404, json={"code": "not-found"})) == []


def test_a_file_in_the_callers_folder_takes_no_librarys_place(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise SystemExit('somebody took the place of a library')")
    platform = Platform(StateDir(tmp_path / "state"), "token", "")
    platform.state.make()
    platform.bind()
    children = [platform.service_child("gateway"), platform.mlflow_child()]
    for taken in platform.sockets.values():
        taken.close()
    for child in children:
        python = child.command[: child.command.index("-m")]
        said = subprocess.run(
            [*python, "-c", "import redis; print(redis.__file__)"],
            cwd=tmp_path,
            env={**child.environment, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "site-packages" in said.stdout, said.stderr
