"""Dashboards and rules ask only for what exists, in a language that parses."""

import json
from typing import Any

import pytest
import yaml

from deploy.grafana import make
from tests.deploy.compose import ROOT
from tests.deploy.promql import asked, parse
from tests.deploy.series import known_series, rules

DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
QUESTIONS = {
    "status",
    "traffic",
    "time",
    "canary",
    "quality",
    "drift",
    "features",
    "saturation",
    "log",
}


def content(name: str) -> dict[str, Any]:
    loaded = json.loads((ROOT / f"deploy/grafana/dashboards/{name}.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def dashboard_queries() -> list[tuple[str, str]]:
    """(dashboard and panel, query)."""
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in DASHBOARDS
        for panel in content(path.stem)["panels"]
        for target in panel["targets"]
    ]


def rule_queries() -> list[tuple[str, str]]:
    return [(str(rule.get("alert", rule.get("record"))), str(rule["expr"])) for rule in rules()]


ALL_QUERIES = dashboard_queries() + rule_queries()


def test_the_dashboards_are_what_their_pages_say() -> None:
    assert {path.name: path.read_text() for path in DASHBOARDS} == make.rendered()
    assert {path.stem for path in DASHBOARDS} == QUESTIONS


@pytest.mark.parametrize(("where", "query"), ALL_QUERIES, ids=[where for where, _ in ALL_QUERIES])
def test_a_query_asks_for_series_and_labels_that_exist(where: str, query: str) -> None:
    for series, labels in asked(query).items():
        assert series in known_series(), f"{where}: there is no {series}"
        missing = labels - known_series()[series]
        assert not missing, f"{where}: {series} has no {missing}"


def test_a_query_for_what_is_not_there_would_be_noticed() -> None:
    assert asked('sum by (job) (rate(gone_total{x="y"}[5m])) / up') == {
        "gone_total": {"job", "x"},
        "up": set(),
    }
    with pytest.raises(ValueError, match="parenthesis"):
        parse("sum by (job (up)")


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_a_dashboard_takes_its_data_source_from_a_variable(name: str) -> None:
    dashboard = content(name)
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    sources = [panel["datasource"] for panel in dashboard["panels"]]
    sources += [
        target["datasource"] for panel in dashboard["panels"] for target in panel["targets"]
    ]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    asks_by_model = "$model" in json.dumps(dashboard["panels"])
    assert ("model" in variables) == asks_by_model


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_the_panels_of_a_dashboard_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in content(name)["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_the_provisioned_data_source_is_the_one_that_dashboards_begin_with() -> None:
    path = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    first = content("status")["templating"]["list"][0]["current"]
    assert (source["name"], source["uid"]) == (first["text"], first["value"])
