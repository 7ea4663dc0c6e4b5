"""Pages and tables as text."""

from collections.abc import Iterable

_NOTE = "<!-- Made from the code by `python -m leadline.reference`; do not edit. -->\n"


def page(title: str, intro: str, parts: Iterable[str]) -> str:
    """A whole page."""
    return "\n".join([f"# {title}", "", _NOTE, intro, "", *parts]).rstrip() + "\n"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table with one line a row."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]  # inside of code it is itself
    return "`".join(parts) or " "
