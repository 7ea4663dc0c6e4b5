"""What is a feature? Entities, sources, views, windows and services, as plain frozen values.

    carrier = Entity("carrier", keys={"carrier": "string"})
    arrivals = Source(
        "arrivals",
        columns={"carrier": "string", "late": "int64"},
        availability_lag=timedelta(0),
    )
    carrier_late = WindowView(
        "carrier_late",
        entity=carrier,
        source=arrivals,
        window=timedelta(days=7),
        features={"share_7d": Aggregate.avg("late"), "arrivals_7d": Aggregate.count()},
    )
    delay = FeatureService("delay", refs=["carrier_late:share_7d", "calendar:local_hour"])

A definition does nothing by itself: ``shared_features.catalogue`` collects and compiles them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared_features.dtypes import (
    DTYPES,
    KEY_DTYPES,
    ORDERED,
    SUMMABLE,
    check_dtype,
    check_name,
)
from shared_features.errors import DefinitionError

RESERVED = frozenset({"event_time", "created_time", "event_id", "deleted", "ingested_time", "seq"})
"""Names of a row's own fields; no column may take them."""

DURATION_MAX = timedelta(days=36_525)
AggregateFunction = Literal["count", "sum", "avg", "min", "max", "last"]
Period = Literal["hour", "day", "week", "month"]


def _check_duration(owner: str, name: str, duration: object) -> None:
    if not isinstance(duration, timedelta):
        raise DefinitionError(owner, f"{name} is no timedelta", "Write timedelta(days=7)")
    if duration > DURATION_MAX:  # what is longer would overflow beside an instant
        raise DefinitionError(owner, f"{name} is longer than a century", "Give a shorter one")


def duration_us(duration: timedelta) -> int:
    """Microseconds of a duration, exactly."""
    return duration // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entity:
    """What a feature is about. ``keys`` maps key names to dtypes, in the order of the key tuple."""

    name: str
    keys: Mapping[str, str]
    description: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "Entity")
        if not self.keys:
            raise DefinitionError(f"Entity {self.name!r}", "it has no key", "Name at least one")
        for key, dtype in self.keys.items():
            check_name(key, f"key of entity {self.name!r}")
            check_dtype(dtype, f"Entity {self.name!r}", key, KEY_DTYPES)


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from: named columns (entity keys among them) that are pushed or loaded.

    ``availability_lag``: how long after max(event, created) a row became known. Declare it only
    for a source that is loaded after the fact; None means that a row is known when it is ingested,
    which cannot leak.
    """

    name: str
    columns: Mapping[str, str]
    availability_lag: timedelta | None = None
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "Source")
        for column, dtype in self.columns.items():
            check_name(column, f"column of source {self.name!r}")
            check_dtype(dtype, f"Source {self.name!r}", column)
            if column in RESERVED:
                raise DefinitionError(
                    f"Source {self.name!r}",
                    f"the column {column!r} has the name of a row's own field",
                    "Rename it",
                )
        if self.availability_lag is not None:
            _check_duration(f"Source {self.name!r}", "availability_lag", self.availability_lag)
        if self.availability_lag is not None and self.availability_lag < timedelta(0):
            raise DefinitionError(
                f"Source {self.name!r}",
                "availability_lag is negative, which would show rows before they were known",
                "Use zero or more",
            )

    @property
    def lag_us(self) -> int | None:
        """The declared availability lag in microseconds, or None."""
        return None if self.availability_lag is None else duration_us(self.availability_lag)


_ITSELF = Source("itself", {})
"""Stands for "no source given" until the view makes its own."""


@dataclass(frozen=True, slots=True)
class FeatureView:
    """The latest row of a source for an entity.

    ``max_age`` counts from the row's event time to the asked instant, inclusive; None is unlimited.
    Without ``source`` the view is its own source, of the same name: rows are pushed to the view.
    """

    name: str
    entity: Entity
    features: Mapping[str, str]
    """Feature (a column of the source) -> dtype."""
    source: Source = _ITSELF
    max_age: timedelta | None = None
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "FeatureView")
        owner = f"FeatureView {self.name!r}"
        if not self.features:
            raise DefinitionError(owner, "it has no feature", "Name at least one")
        if self.source is _ITSELF:
            own = Source(self.name, {**self.entity.keys, **self.features})
            object.__setattr__(self, "source", own)
        for feature, dtype in self.features.items():
            check_name(feature, f"feature of {owner}")
            check_dtype(dtype, owner, feature)
            if self.source.columns.get(feature) != dtype:
                raise DefinitionError(
                    owner,
                    f"source {self.source.name!r} has no column {feature!r} of dtype {dtype!r}",
                    "Add the column to the source, or correct the view's dtype",
                )
        _check_keys(owner, self.entity, self.source)
        if self.max_age is not None:
            _check_duration(owner, "max_age", self.max_age)
        if self.max_age is not None and self.max_age < timedelta(0):
            raise DefinitionError(owner, "max_age is negative", "Use None for unlimited")

    @property
    def max_age_us(self) -> int | None:
        """Microseconds, or None for unlimited."""
        return None if self.max_age is None else duration_us(self.max_age)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregation over the rows of a window. Nulls are skipped, except by ``last``.

    Nothing in the window: count and sum are 0; avg, min, max and last are null.
    """

    function: AggregateFunction
    column: str | None = None

    def __post_init__(self) -> None:
        known = get_args(AggregateFunction)
        if self.function not in known:
            raise DefinitionError(
                "Aggregate", f"{self.function!r} is no function", f"Use one of {', '.join(known)}"
            )

    @staticmethod
    def count(column: str | None = None) -> "Aggregate":
        """How many rows, or how many with a value in ``column``: int64."""
        return Aggregate("count", column)

    @staticmethod
    def sum(column: str) -> "Aggregate":
        """The exact sum: int64 of whole numbers and bools, else the nearest float64."""
        return Aggregate("sum", column)

    @staticmethod
    def avg(column: str) -> "Aggregate":
        """The exact sum divided by the count: float64."""
        return Aggregate("avg", column)

    @staticmethod
    def min(column: str) -> "Aggregate":
        """The least value, −0.0 below 0.0; NaN when any is NaN."""
        return Aggregate("min", column)

    @staticmethod
    def max(column: str) -> "Aggregate":
        """The greatest value, 0.0 above −0.0; NaN when any is NaN."""
        return Aggregate("max", column)

    @staticmethod
    def last(column: str) -> "Aggregate":
        """The value of the latest row by (event, created, seq); null when that row's is null."""
        return Aggregate("last", column)

    def dtype(self, columns: Mapping[str, str], owner: str) -> str:
        """The dtype of the result over a source with ``columns``."""
        if self.function == "count" and self.column is None:
            return "int64"
        column = columns.get(self.column or "")
        if column is None:
            raise DefinitionError(
                owner,
                f"{self.function} of {self.column!r}, which the source lacks",
                "Name a column",
            )
        allowed = {"sum": SUMMABLE, "avg": SUMMABLE, "min": ORDERED, "max": ORDERED}
        check_dtype(column, owner, self.column or "", allowed.get(self.function, DTYPES))
        if self.function == "count":
            return "int64"
        if self.function == "avg":
            return "float64"
        if self.function == "sum":
            return "float64" if column.startswith("float") else "int64"
        return column


@dataclass(frozen=True, slots=True)
class WindowView:
    """Aggregations over the rows of the half-open window (t − window, t], to the microsecond."""

    name: str
    entity: Entity
    source: Source
    window: timedelta
    features: Mapping[str, Aggregate]
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        owner = f"WindowView {self.name!r}"
        _check_window(owner, self.name, self.entity, self.source, self.features)
        _check_duration(owner, "window", self.window)
        if self.window <= timedelta(0):
            raise DefinitionError(owner, "the window is not positive", "Give a duration")

    @property
    def window_us(self) -> int:
        """The length of the window in microseconds."""
        return duration_us(self.window)


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """Aggregations over the current calendar period of a zone: from its beginning up to t."""

    name: str
    entity: Entity
    source: Source
    period: Period
    zone: str
    features: Mapping[str, Aggregate]
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        owner = f"CalendarWindow {self.name!r}"
        _check_window(owner, self.name, self.entity, self.source, self.features)
        if self.period not in ("hour", "day", "week", "month"):
            raise DefinitionError(owner, f"period {self.period!r}", "Use hour, day, week or month")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise DefinitionError(owner, f"zone {self.zone!r}", "Use an IANA name") from error


View = FeatureView | WindowView | CalendarWindow


@dataclass(frozen=True, slots=True)
class FeatureService:
    """The refs a model takes, in the order it takes them.

    A ref is ``view:feature``, ``view@alias:feature`` or ``function:output`` of a request-time
    function. An alias reads the same view for another entity of the row: ``aliases`` says, for
    each alias, which field of the row holds each key (default ``<alias>_<key>``).
    """

    name: str
    refs: tuple[str, ...] | list[str]
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "FeatureService")
        object.__setattr__(self, "refs", tuple(self.refs))
        if not self.refs:
            raise DefinitionError(f"FeatureService {self.name!r}", "it has no ref", "List some")


def _check_keys(owner: str, entity: Entity, source: Source) -> None:
    for key, dtype in entity.keys.items():
        if source.columns.get(key) != dtype:
            raise DefinitionError(
                owner,
                f"source {source.name!r} lacks the key {key!r} of entity {entity.name!r} "
                f"with dtype {dtype!r}",
                "Add the column to the source",
            )


def _check_window(
    owner: str, name: str, entity: Entity, source: Source, features: Mapping[str, Aggregate]
) -> None:
    check_name(name, owner.split(maxsplit=1)[0])
    if not features:
        raise DefinitionError(owner, "it has no feature", "Name at least one aggregate")
    for feature, aggregate in features.items():
        check_name(feature, f"feature of {owner}")
        aggregate.dtype(source.columns, owner)
    _check_keys(owner, entity, source)
