"""Every metric that a dashboard or a rule asks for is on a running platform's ``/metrics``."""

import re

import httpx
import pytest

from leadline.state import SERVICES, StateDir
from tests.deploy.promql import asked
from tests.deploy.series import PROMETHEUS_OWN, expanded, rules
from tests.deploy.test_dashboards import ALL_QUERIES

_TYPE = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)
OF_PROMETHEUS = {"up", "ALERTS"}


@pytest.fixture(scope="module")
def exported(platform: StateDir) -> set[str]:
    """Every series that some service exports, or will as soon as it has a value."""
    endpoints = platform.read_endpoints()
    series: set[str] = set()
    for service in SERVICES:
        page = httpx.get(f"{endpoints[service]}/metrics", trust_env=False)
        assert page.status_code == 200
        for name, kind in _TYPE.findall(page.text):
            series.update(name for name, _ in expanded(name, kind))
    return series


def test_a_running_platform_exports_what_dashboards_and_rules_ask_for(exported: set[str]) -> None:
    recorded = {str(rule["record"]) for rule in rules() if "record" in rule}
    wanted = {name for _, query in ALL_QUERIES for name in asked(query)}
    assert wanted - recorded - OF_PROMETHEUS <= exported
    assert set(PROMETHEUS_OWN) - OF_PROMETHEUS <= exported
    assert len(wanted & exported) > 40
