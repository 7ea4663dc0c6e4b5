"""The report says what the night found, on one page that needs nothing from elsewhere."""

import re
from html.parser import HTMLParser

import pytest

from kit.problems import Problem
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.report import Report
from tests.monitor.office import Office
from tests.monitor.world import MODEL, inline


@pytest.fixture
def report(office: Office, history: SqliteHistory, baselines: RegistryBaselines) -> Report:
    return Report(history, office.verdicts, baselines, inline, office.clock)


class Balanced(HTMLParser):
    """Fails on a tag that closes what is not open."""

    VOID = frozenset({"meta", "line", "rect", "circle", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


async def test_the_page_shows_the_moved_feature_and_needs_nothing_else(
    office: Office, report: Report
) -> None:
    for number in range(3):
        await office.day(number, right=0.85)
    for number in range(3, 5):
        await office.day(number, shift=1.0, right=0.5)
    html = await report.html(MODEL)
    assert "<script" not in html
    assert not re.search(r"""(src|href)=|url\(|@import""", html)
    assert html.index("@prediction (distance") < html.index("distance (distance")
    assert "D = 0." in html
    assert "Accuracy by day" in html
    assert "Reliability diagram" in html
    assert "ticket · FIRING" in html
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []


async def test_before_labels_are_due_the_page_says_so_instead_of_drawing_nothing(
    office: Office, report: Report
) -> None:
    await office.day(0, right=0.85)
    html = await report.html(MODEL)
    assert "No labels are due yet." in html
    assert "Accuracy by day" not in html


async def test_the_json_holds_the_same_numbers(office: Office, report: Report) -> None:
    await office.day(0)
    await office.day(1, shift=1.0)
    data = await report.data(MODEL)
    assert [day["day"] for day in data["days"]] == ["2013-12-02", "2013-12-03"]
    effects = [day["effect"]["distance"] for day in data["days"]]
    assert effects[1] > 3 > effects[0]
    assert data["columns"]["distance"]["distance"] > 0.3
    assert data["rows"] == 300


async def test_before_the_first_night_there_is_no_report(office: Office, report: Report) -> None:
    with pytest.raises(Problem, match="not-found"):
        await report.data(MODEL)
