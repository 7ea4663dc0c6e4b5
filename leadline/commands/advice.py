"""What the registry took, and thinks worth knowing."""

from collections.abc import Mapping
from typing import Any

import click


def say_advice(answer: Mapping[str, Any]) -> None:
    """A line for each piece of advice in an answer."""
    for text in answer.get("advice", ()):
        click.echo(f"Note: {text}.")
