"""What a conformance case is about: the dtypes, the view, the instants."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared_features import Aggregate, Entity, FeatureView, Source, View, WindowView
from shared_features.dtypes import KEY_DTYPES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
MIXED = "mixed"
AGGREGATES = ("count", "sum", "avg", "min", "max", "last")
Case = dict[str, Any]


def instant_us(moment: Any) -> int:
    """Microseconds of a time in a case: seconds, or ISO 8601 with a zone."""
    if isinstance(moment, str):
        return (datetime.fromisoformat(moment) - EPOCH) // timedelta(microseconds=1)
    return int(Decimal(str(moment)) * SECOND_US)


def as_datetime(moment_us: int) -> datetime:
    """The instant as a zone-aware datetime."""
    return EPOCH + timedelta(microseconds=moment_us)


def is_tomb(value: Any) -> bool:
    """Whether a row's value says that it deletes."""
    return isinstance(value, dict) and value.get("tomb") is True


def dtype_of(values: Sequence[Any]) -> str:
    """The one dtype that holds all these values (nulls and deletions aside)."""
    if any(isinstance(value, dict) and not is_tomb(value) for value in values):
        return MIXED
    kinds = {type(value) for value in values if value is not None and not isinstance(value, dict)}
    if any(isinstance(v, int) and not -(1 << 63) <= v < 1 << 63 for v in values):
        return MIXED
    if kinds <= {int}:
        return "int64"
    if kinds <= {int, float}:
        return "float64"
    if kinds == {bool}:
        return "bool"
    if kinds == {list}:
        items = [item for value in values if isinstance(value, list) for item in value]
        inner = dtype_of(items)
        listed = None not in items and inner in ("bool", "int64", "float64", "string")
        return f"list<{inner}>" if listed else MIXED
    if kinds == {str}:
        return "string"
    return MIXED


@dataclass(frozen=True, slots=True)
class Kinds:
    """The dtypes of a case's value and key parts, and which of them hold JSON texts."""

    value: str
    keys: dict[str, str]
    mixed: bool
    mixed_keys: frozenset[str]


def kinds_of(case: Case) -> Kinds:
    """What dtypes the columns of a case need."""
    puts = [op[1:5] for op in case.get("ops", []) if op[0] == "put"]
    rows = case.get("rows", puts)
    gets = [op[1:3] for op in case.get("ops", []) if op[0] == "get"]
    keys = [row[0] for row in [*rows, *case.get("ask", gets)]]
    tuples = [key if isinstance(key, list) else [key] for key in keys]
    width = max((len(key) for key in tuples), default=1)
    parts = {f"k{i}": dtype_of([key[i] for key in tuples if i < len(key)]) for i in range(width)}
    # a float is no key; its text is
    odd = frozenset(name for name, dtype in parts.items() if dtype not in KEY_DTYPES)
    value = dtype_of([row[3] for row in rows])
    return Kinds(
        "string" if value == MIXED else value,
        {name: "string" if name in odd else dtype for name, dtype in parts.items()},
        value == MIXED,
        odd,
    )


def definitions(case: Case, kinds: Kinds) -> View:
    """The view a case is about."""
    entity, dtype = Entity("thing", kinds.keys), kinds.value
    # rows carry the time at which they were known as their created time
    source = Source("facts", {**entity.keys, "value": dtype}, availability_lag=timedelta(0))
    if case["kind"] == "win":
        function = case["fn"]
        assert function in AGGREGATES, function
        window = timedelta(microseconds=instant_us(case["window"]))
        aggregate = Aggregate(function, "value")
        return WindowView("window", entity, source, window, {"value": aggregate})
    ttl = case.get("ttl", 0)
    age = timedelta(microseconds=instant_us(ttl)) if ttl else None
    return FeatureView("latest", entity, {"value": dtype}, source, age)
