"""The types a key, a column or a feature may have.

A dtype is a plain string, so that definitions, canonical JSON and wire formats share one spelling.
Every dtype round-trips bit for bit through the log, the online store and the historical join.
"""

import re

from shared_features.errors import DefinitionError

FIXED: dict[str, str] = {
    "bool": "?",
    "int32": "i",
    "int64": "q",
    "float32": "f",
    "float64": "d",
    "timestamp": "q",
}
"""Dtypes of fixed size and their ``struct`` code. A timestamp is microseconds since 1970 UTC."""

VARIABLE = (
    "string",
    "bytes",
    "list<bool>",
    "list<int64>",
    "list<float64>",
    "list<string>",
)
DTYPES = (*FIXED, *VARIABLE)
KEY_DTYPES = ("string", "int64", "bool", "timestamp")
"""What an entity key may be: types whose equality is beyond doubt (no floats)."""
SUMMABLE = ("bool", "int32", "int64", "float32", "float64")
ORDERED = (*SUMMABLE, "timestamp")

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")


def check_name(name: str, what: str) -> None:
    """Refuse a name that could not be a part of a ref, a column and a file name alike."""
    if not _NAME.match(name):
        raise DefinitionError(
            f"{what} {name!r}",
            "the name is not usable",
            "Use lower-case letters, digits and underscores, beginning with a letter, at most 63",
        )
    if "__" in name:
        raise DefinitionError(
            f"{what} {name!r}", "two underscores separate a ref from its status", "Use one"
        )


def check_dtype(dtype: str, owner: str, column: str, allowed: tuple[str, ...] = DTYPES) -> None:
    """Refuse a dtype that the column may not have."""
    if dtype not in allowed:
        raise DefinitionError(
            owner, f"{column!r} has the dtype {dtype!r}", f"Use one of {', '.join(allowed)}"
        )
