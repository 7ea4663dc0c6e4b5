"""Which series the platform has: of its services, of Prometheus, of our recording rules."""

from functools import cache

import yaml

from leadline.reference.services import instruments
from tests.deploy.compose import ROOT, SERVICES

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to everything it scrapes."""
PROMETHEUS_OWN = {
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate", "severity"},
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
    "process_max_fds": set[str](),
}


def rules() -> list[dict[str, object]]:
    """Every recording and alerting rule."""
    files = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@cache
def known_series() -> dict[str, set[str]]:
    """Series → its labels, as the code declares them."""
    known = {name: labels | SCRAPED for name, labels in PROMETHEUS_OWN.items()}
    for package in SERVICES.values():
        for name, kind, labels, _ in instruments(package):
            for series, more in expanded(name, kind):
                known.setdefault(series, set(SCRAPED)).update(labels, more)
    for rule in rules():
        if "record" in rule:
            known[str(rule["record"])] = set()
    return known


def expanded(name: str, kind: str) -> list[tuple[str, set[str]]]:
    """The series that one instrument exports, with the labels that its kind adds."""
    if kind != "histogram":
        return [(name, set())]
    return [(f"{name}_bucket", {"le"}), (f"{name}_sum", set()), (f"{name}_count", set())]
