"""Alerting rules fire when they should, are silent when they should, and lead to the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.compose import ROOT, SERVICES
from tests.docs.pages import anchors

RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
CASES = sorted((ROOT / "tests/deploy/rules").glob("*.test.yml"))
PROMTOOL, AMTOOL = shutil.which("promtool"), shutil.which("amtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
needs_amtool = pytest.mark.skipif(AMTOOL is None, reason="amtool is not installed")


def alerts() -> dict[str, dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    by_name = {rule["alert"]: rule for rule in rules}
    assert len(by_name) == len(rules)
    return by_name


ALERTS = alerts()


def expectations() -> list[tuple[str, int]]:
    """(alert, how many of it are expected) of every case."""
    cases = [case for path in CASES for case in yaml.safe_load(path.read_text())["tests"]]
    return [
        (rule["alertname"], len(rule["exp_alerts"]))
        for case in cases
        for rule in case["alert_rule_test"]
    ]


def run(*command: str | Path | None) -> subprocess.CompletedProcess[str]:
    told = [str(part) for part in command]
    return subprocess.run(told, check=False, capture_output=True, text=True, timeout=120)


@needs_promtool
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_rules_fire_and_are_silent_as_their_cases_say(path: Path) -> None:
    result = run(PROMTOOL, "test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_rules_in_it() -> None:
    result = run(PROMTOOL, "check", "config", ROOT / "deploy/prometheus/prometheus.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("rules found") == len(RULES)


@needs_amtool
def test_alertmanager_accepts_its_configuration() -> None:
    result = run(AMTOOL, "check-config", ROOT / "deploy/alertmanager/alertmanager.yml")
    assert result.returncode == 0, result.stdout + result.stderr


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("severity=page", "pager"),
        ("severity=ticket", "tickets"),
        ("severity=info", "nobody"),
        ("severity=heartbeat", "dead-mans-switch"),
    ],
)
def test_an_alert_reaches_the_receiver_of_its_severity(labels: str, receiver: str) -> None:
    config = ROOT / "deploy/alertmanager/alertmanager.yml"
    result = run(AMTOOL, "config", "routes", "test", f"--config.file={config}", labels)
    assert result.stdout.strip() == receiver


def named(matchers: list[str]) -> set[str]:
    """The alert names in the matchers of an inhibition."""
    found = [re.fullmatch(r'alertname=~?"([^"]+)"', matcher) for matcher in matchers]
    return {name for one in found if one for name in one.group(1).split("|")}


def test_inhibitions_name_alerts_that_exist() -> None:
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    for rule in config["inhibit_rules"]:
        names = named(rule["source_matchers"]) | named(rule["target_matchers"])
        ours = {name for name in names if not name.startswith("Leadline_")}
        assert ours <= set(ALERTS)


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_is_silent() -> None:
    told = expectations()
    always = {"Heartbeat"}
    assert {name for name, count in told if count} == set(ALERTS)
    assert {name for name, count in told if not count} == set(ALERTS) - always


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_who_cares_what_happened_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket", "heartbeat"}
    assert rule["annotations"]["summary"].endswith(".")
    page, anchor = rule["annotations"]["runbook"].split("#")
    assert page == "docs/runbook.md"
    assert anchor == name.lower()
    assert anchor in anchors(ROOT / page)


def test_the_runbook_has_no_section_for_an_alert_that_is_gone() -> None:
    headings = re.findall(
        r"^#{2,3} ([A-Z]\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE
    )
    assert set(headings) - {"Pages", "Tickets"} == set(ALERTS)


def test_the_runbook_files_an_alert_under_its_severity() -> None:
    pages, tickets = (ROOT / "docs/runbook.md").read_text().split("\n## Tickets\n")
    for name, rule in ALERTS.items():
        part = {"page": pages, "ticket": tickets}.get(rule["labels"]["severity"])
        assert part is None or f"### {name}\n" in part, name


def test_prometheus_finds_every_service_where_compose_runs_it() -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs if "dns_sd_configs" in job}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(found) == set(SERVICES.values())
    for name, package in SERVICES.items():
        assert found[package]["names"] == [name]
        assert str(found[package]["port"]) == compose[name]["environment"]["LEADLINE_PORT"]
