"""Writes ``docs/reference/`` from the code: ``python -m leadline.reference [--check]``.

What is written by hand goes stale; settings, metrics, problems, commands and routes are read from
the objects that the processes use.
"""

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from contracts.problems import ProblemCode
from kit.settings import ServiceSettings
from leadline.cli import main as cli
from leadline.state import SERVICES

DEFAULT_FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_NOTE = "<!-- Made from the code by `python -m leadline.reference`; do not edit. -->\n"
_CLI_WIDTH = 96


@cache
def pages() -> dict[str, str]:
    """File name → content of every page."""
    return {
        "settings.md": _settings_page(),
        "metrics.md": _metrics_page(),
        "problems.md": _problems_page(),
        "cli.md": _cli_page(),
    }


def _page(title: str, intro: str, parts: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _NOTE, intro, "", *parts]).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or " "


# Settings


def settings_class(service: str) -> type[ServiceSettings]:
    """The settings of one service."""
    found = [
        value
        for value in vars(import_module(f"{service}.settings")).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value is not ServiceSettings
    ]
    assert len(found) == 1, service
    return found[0]


def _settings_page() -> str:
    shared = ServiceSettings.model_fields
    parts = ["## Every service", "", _settings_table(shared)]
    for service in SERVICES:
        fields = settings_class(service).model_fields
        own = {name: field for name, field in fields.items() if name not in shared}
        parts += [f"## {service}", "", _settings_table(own)]
    intro = (
        "A process reads its settings once, at its start, from the environment. "
        "Lists are comma separated unless the description says JSON."
    )
    return _page("Settings", intro, parts)


def _settings_table(fields: dict[str, FieldInfo]) -> str:
    rows = (
        (
            f"`LEADLINE_{name.upper()}`",
            _type_name(field.annotation),
            _default(field),
            _limits(field),
            field.description or "",
        )
        for name, field in fields.items()
    )
    return _table(("variable", "type", "default", "limits", "what it does"), rows)


_SPOKEN: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret",
}


def _type_name(annotation: Any) -> str:
    parts = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    return " or ".join(_part_name(part) for part in parts if part is not type(None))


def _part_name(part: Any) -> str:
    if get_origin(part) is tuple:
        of = get_args(part)[0]
        return "JSON list" if isinstance(of, type) and issubclass(of, BaseModel) else "list"
    return _SPOKEN.get(part) or str(getattr(part, "__name__", part))


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr) or value in (None, "", ()):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _limits(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "pattern": "like"}
    found = []
    for rule in field.metadata:
        for name, sign in signs.items():
            limit = getattr(rule, name, None)
            if limit is not None:
                found.append(f"{sign} `{limit}`" if name == "pattern" else f"{sign} {limit}")
    return ", ".join(found)


# Metrics


Row = tuple[str, str, tuple[str, ...], str]


def instruments(service: str) -> list[Row]:
    """(name, type, labels, help) of each instrument that ``<service>.metrics`` registers.

    Two services may count the same thing under one name, so each is read in its own process.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_instruments_here, service).result()


def _labels_of(family: Metric) -> tuple[str, ...]:
    return tuple(getattr(family, "_labelnames", ()))


def _with_suffix(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def _instruments_here(service: str) -> list[Row]:
    from kit.telemetry import REGISTRY

    module = import_module(f"{service}.metrics")
    found = {
        (_with_suffix(family.name, family.type), family.type): family
        for family in REGISTRY.collect()
        if not family.name.startswith(("process_", "python_"))
    }
    labels = {
        # The client library keeps the names of labels to itself until there is a sample.
        instrument._name: tuple(instrument._labelnames)  # noqa: SLF001
        for instrument in list(REGISTRY._collector_to_names)  # noqa: SLF001
        if isinstance(instrument, MetricWrapperBase)
    }
    rows = [
        (name, kind, labels.get(family.name, _labels_of(family)), family.documentation)
        for (name, kind), family in found.items()
    ]
    # Instruments that are read at scrape time are declared as plain data.
    plain = getattr(module, "Instrument", ())
    rows += [
        (
            one.name + ("_total" if one.kind == "counter" else ""),
            one.kind,
            one.labels,
            one.documentation,
        )
        for one in vars(module).values()
        if isinstance(one, plain)
    ]
    return sorted(rows)


def _metrics_page() -> str:
    by_service = {service: instruments(service) for service in SERVICES}
    everywhere = set.intersection(*(set(rows) for rows in by_service.values()))
    rows = ((f"`{n}`", kind, ", ".join(labels), what) for n, kind, labels, what in everywhere)
    head = ("metric", "type", "labels", "what it says")
    parts = ["## Every process", "", _table(head, sorted(rows))]
    parts += ["Beside these, the process and Python metrics of the Prometheus client.", ""]
    for service, all_rows in by_service.items():
        own = (
            (f"`{name}`", kind, ", ".join(labels), what)
            for name, kind, labels, what in all_rows
            if (name, kind, labels, what) not in everywhere
        )
        parts += [f"## {service}", "", _table(head, own)]
    intro = "Base units. Label values come from closed sets or from published models."
    return _page("Metrics", intro, parts)


# Problems


def _problems_page() -> str:
    rows = (
        (f"`{code.value}`", str(code.status), "yes" if code.retryable else "no", code.title)
        for code in sorted(ProblemCode, key=lambda code: (code.status, code.value))
    )
    intro = (
        "Every error body is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, "
        "`detail`, `instance`, `code`, `request_id` and `retryable`; branch on `code`. Under `/v2` "
        'it is `{"error": "…"}`, as the Open Inference Protocol wants. The gateway explains each '
        "at `/problems/<code>`."
    )
    return _page("Problems", intro, [_table(("code", "status", "retry may help", "title"), rows)])


# Commands


def _cli_page() -> str:
    context = click.Context(cli, info_name="leadline", max_content_width=_CLI_WIDTH)
    parts = _help_of(cli, context, "leadline")
    return _page("Command line", "What `--help` says.", parts)


def _help_of(command: click.Command, context: click.Context, path: str) -> list[str]:
    context.terminal_width = _CLI_WIDTH
    parts = [f"## `{path}`", "", "```text", command.get_help(context).rstrip(), "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            inner = click.Context(child, info_name=name, parent=context)
            parts += _help_of(child, inner, f"{path} {name}")
    return parts


def stale(folder: Path) -> list[str]:
    """The names of pages below ``folder`` that differ from what the code says."""
    made = pages()
    there = {path.name for path in folder.glob("*.md")}
    differ = {
        name
        for name, text in made.items()
        if name not in there or (folder / name).read_text() != text
    }
    return sorted(differ | (there - set(made)))


def write(folder: Path) -> None:
    """Write every page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        out_of_date = stale(DEFAULT_FOLDER)
        sys.exit(
            f"stale: {', '.join(out_of_date)}; run python -m leadline.reference"[:10_000]
            if out_of_date
            else 0
        )
    write(DEFAULT_FOLDER)
