"""The report's page says what it has, and why it has no more."""

from typing import Any

import pytest

from monitor.domain.page import page

BARE: dict[str, Any] = {
    "model": "scorer",
    "version": "1",
    "window_text": "2013-12-13",
    "rows": 400,
    "state": "NO_BASELINE",
    "baseline_sha256": None,
    "as_of": "2013-12-15 00:00Z",
    "alerts": [],
    "days": [],
    "columns": {},
    "segments": {},
    "quality_days": [],
}


@pytest.mark.parametrize(("state", "said"), [("NO_BASELINE", True), ("INSUFFICIENT_DATA", False)])
def test_a_version_of_bare_tensors_is_told_why_there_is_nothing_of_drift(
    state: str, said: bool
) -> None:
    html = page({**BARE, "state": state}, None, None)
    assert ("no profile of this version" in html) == said
    assert "400 predictions" in html
    assert "<table" not in html
