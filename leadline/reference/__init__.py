"""Writes ``docs/reference/`` from the code: ``python -m leadline.reference [--check]``.

What is written by hand goes stale; settings, metrics, problems, commands and routes are read from
the objects that the processes use. So is what the gateway's own documentation says of the services
behind it.
"""

from functools import cache
from pathlib import Path

from leadline.reference.commands import cli_page
from leadline.reference.forwarded import FORWARDED, forwarded_openapi
from leadline.reference.problems import problems_page
from leadline.reference.services import metrics_page, routes_page
from leadline.reference.settings import settings_page

DEFAULT_FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@cache
def pages() -> dict[str, str]:
    """File name → content of every page."""
    return {
        "settings.md": settings_page(),
        "http.md": routes_page(),
        "metrics.md": metrics_page(),
        "problems.md": problems_page(),
        "cli.md": cli_page(),
    }


def stale(folder: Path, forwarded: Path = FORWARDED) -> list[str]:
    """The names of pages below ``folder`` that differ from what the code says.

    ``forwarded`` is named where it does; the pages are read with its help.
    """
    if not forwarded.exists() or forwarded.read_text() != forwarded_openapi():
        return [forwarded.name]
    made = pages()
    there = {path.name for path in folder.glob("*.md")}
    differ = {
        name
        for name, text in made.items()
        if name not in there or (folder / name).read_text() != text
    }
    return sorted(differ | (there - set(made)))


def write(folder: Path, forwarded: Path = FORWARDED) -> None:
    """Write every page, and the gateway's part."""
    forwarded.write_text(forwarded_openapi())
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)
