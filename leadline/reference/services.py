"""Metrics and routes of the services, each read in a process of its own.

Two services may count the same thing under one name, and some load what others must not.
"""

import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from gateway.domain.access import rule_for, scope_for, scope_words
from leadline.reference.markdown import page, table
from leadline.reference.settings import settings_class
from leadline.state import SERVICES

_EXTRAS: dict[str, dict[str, str]] = {"gateway": {"pepper": "0" * 64}}


class Instrument(NamedTuple):
    """One metric, as a scrape names it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str


class Route(NamedTuple):
    """One method of one path that callers reach through the gateway."""

    path: str
    method: str
    scope: str
    says: str


class Facts(NamedTuple):
    """What one service exports and answers."""

    instruments: list[Instrument]
    routes: list[Route]
    openapi: dict[str, Any]
    """Its document."""


@cache
def facts(service: str) -> Facts:
    """Everything that the pages say of a service."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_facts_here, service).result()


def _facts_here(service: str) -> Facts:
    found = _instruments_here(import_module(f"{service}.metrics"))
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_class(service)(state_dir=Path(folder), **_EXTRAS.get(service, {}))  # type: ignore[arg-type]  # pydantic makes a secret of it
        module: Any = import_module(f"{service}.app")
        made = (getattr(module, "build", None) or module.make_app)(settings)
        openapi = getattr(made, "app", made).openapi()
    return Facts(found, sorted(_routes(service, openapi["paths"])), openapi)


# Metrics


def instruments(service: str) -> list[Instrument]:
    """Each instrument that ``<service>.metrics`` declares."""
    return facts(service).instruments


def _instruments_here(module: Any) -> list[Instrument]:
    from kit.telemetry import REGISTRY

    labels = {
        # The client library keeps the names of labels to itself until there is a sample.
        instrument._name: tuple(instrument._labelnames)  # noqa: SLF001
        for instrument in list(REGISTRY._collector_to_names)  # noqa: SLF001
        if isinstance(instrument, MetricWrapperBase)
    }
    found = {
        _instrument(
            family.name,
            family.type,
            labels.get(family.name, _labels_of(family)),
            family.documentation,
        )
        for family in REGISTRY.collect()
        if not family.name.startswith(("process_", "python_"))
    }
    # Instruments that are read at scrape time are declared as plain data.
    plain = getattr(module, "Instrument", ())
    found |= {
        _instrument(one.name, one.kind, one.labels, one.documentation)
        for one in vars(module).values()
        if isinstance(one, plain)
    }
    return sorted(found)


def _labels_of(family: Metric) -> tuple[str, ...]:
    return tuple(getattr(family, "_labelnames", ()))


def _instrument(name: str, kind: str, labels: tuple[str, ...], says: str) -> Instrument:
    return Instrument(f"{name}_total" if kind == "counter" else name, kind, labels, says)


def metrics_page() -> str:
    """Every instrument of every service."""
    by_service = {service: instruments(service) for service in SERVICES}
    everywhere = set.intersection(*(set(found) for found in by_service.values()))
    parts = ["## Every process", "", _metrics_table(sorted(everywhere))]
    parts += ["Beside these, the process and Python metrics of the Prometheus client.", ""]
    for service, found in by_service.items():
        own = (one for one in found if one not in everywhere)
        parts += [f"## {service}", "", _metrics_table(own)]
    intro = "Base units. Label values come from closed sets or from published models."
    return page("Metrics", intro, parts)


def _metrics_table(found: Iterable[Instrument]) -> str:
    rows = ((f"`{one.name}`", one.kind, ", ".join(one.labels), one.says) for one in found)
    return table(("metric", "type", "labels", "what it says"), rows)


# Routes


def is_reachable(service: str, path: str, method: str) -> bool:
    """Whether callers reach this operation of the service through the gateway."""
    return _scope(service, path, method) is not None


def _scope(service: str, path: str, method: str) -> str | None:
    rule = rule_for(re.sub(r"\{[^}]*\}", "x", path))
    return scope_for(rule, method.upper()) if rule is not None and rule.service == service else None


def _routes(service: str, paths: dict[str, dict[str, Any]]) -> Iterable[Route]:
    for path, methods in paths.items():
        for method, told in methods.items():
            scope = _scope(service, path, method)
            if scope is None:
                continue
            says = (told.get("description") or told.get("summary") or "").split("\n\n")[0]
            yield Route(path, method.upper(), scope_words(scope), says.replace("``", "`"))


def routes_page() -> str:
    """Every path that callers reach, by the service that answers."""
    parts: list[str] = []
    for service in SERVICES:
        rows = (
            (f"`{one.method} {one.path}`", one.scope, one.says) for one in facts(service).routes
        )
        parts += [f"## {service}", "", table(("call", "scope", "what it does"), rows)]
    intro = (
        "All of it through the gateway, which asks for the scope and forwards; a service may ask "
        "for a narrower one, and then says so. What is not listed does not exist for callers. "
        "Bodies and answers: the gateway's `/docs`."
    )
    return page("HTTP", intro, parts)
