"""Settings as the environment gives them."""

import os
import subprocess
import sys

import pytest

LISTS = [
    ("kit", "ServiceSettings", "feature_modules"),
    ("kit", "ServiceSettings", "inference_urls"),
    ("monitor", "MonitorSettings", "streams"),
    ("monitor", "MonitorSettings", "quality_floors"),
    ("monitor", "MonitorSettings", "known_days"),
    ("monitor", "MonitorSettings", "segment_columns"),
]


@pytest.mark.parametrize(("package", "name", "setting"), LISTS, ids=lambda part: part)
def test_every_list_comes_from_one_comma_separated_string(
    package: str, name: str, setting: str
) -> None:
    code = f"from {package}.settings import {name}; print({name}().{setting})"
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**os.environ, f"LEADLINE_{setting.upper()}": "a=1, b/c,"},
    )  # fmt: skip
    assert told.stdout.strip() == "('a=1', 'b/c')"


def refusal(code: str, **environment: str) -> str:
    """What a process says whose settings are refused."""
    told = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert told.returncode == 1
    return told.stderr


def test_a_webhook_that_could_not_be_signed_is_refused_at_the_start_and_no_secret_is_shown() -> (
    None
):
    code = "from monitor.settings import MonitorSettings; MonitorSettings()"
    said = refusal(code, LEADLINE_WEBHOOK_URL="http://hook/", LEADLINE_SERVICE_TOKEN="s3cr3t")
    assert "LEADLINE_WEBHOOK_SECRET" in said
    assert "s3cr3t" not in said
