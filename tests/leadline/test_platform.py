"""A model that cannot be loaded is mended through the platform, so the platform has to start."""

from typing import Any

import httpx
import pytest

from leadline.local.platform import failed_models

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
