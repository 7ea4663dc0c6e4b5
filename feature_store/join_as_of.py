"""Historical features: what serving would have answered for each row at its instant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from contracts.served import STATUSES
from feature_store.domain.as_of import Mode
from feature_store.domain.join import NO_AGE, JoinedColumn, float_vector, typed
from feature_store.domain.schema import ARROW_TYPES, INSTANT, TIME_US_MAX, TIME_US_MIN, Int64s
from feature_store.domain.statuses import NULL_VALUE, PRESENT
from feature_store.ports import HistoricalEngine, LogReader
from shared_features import CompiledService, DefinitionError, MissingField, OnDemand
from shared_features.dtypes import FIXED

TOO_FAR = "outside of the years 1 to 9999"
STATUS_SUFFIX = "__status"
Progress = Callable[[int, int], None]
"""Called with (views joined, views in all)."""


class InvalidLabels(ValueError):
    """The rows to be joined lack something; the message says what and how to mend it."""


@dataclass(frozen=True, slots=True)
class Labels:
    """n rows to which features are joined: key and request columns, and each row's instant."""

    table: pa.Table
    at_us: Int64s

    def column(self, name: str, dtype: str, needed_by: str) -> pa.Array:
        """A column as its dtype. Raises ``MissingField`` or ``InvalidLabels``."""
        if name not in self.table.column_names:
            raise MissingField(name, needed_by)
        column = self.table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        wanted = ARROW_TYPES[dtype]
        if column.type == wanted:
            return column
        if not _same_kind(column.type, wanted):
            raise InvalidLabels(f"the column {name!r} is {column.type}; it must be {wanted}")
        return column.cast(wanted)


def _same_kind(given: pa.DataType, wanted: pa.DataType) -> bool:
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        lambda t: t in (pa.string(), pa.large_string(), pa.string_view()),
        lambda t: pa.types.is_timestamp(t) and t.tz is not None,
    )
    if pa.types.is_floating(wanted) and pa.types.is_integer(given):
        return True
    return pa.types.is_null(given) or any(kind(given) and kind(wanted) for kind in kinds)


def labels_of(table: pa.Table, at: str) -> Labels:
    """Labels from a table whose column ``at`` holds the instants."""
    if at not in table.column_names:
        raise InvalidLabels(f"the column {at!r} with each row's instant is missing")
    column = table[at].combine_chunks()
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise InvalidLabels(
            f"the column {at!r} is {column.type}; it must be a timestamp with a zone "
            "(pandas: .dt.tz_localize, polars: .dt.replace_time_zone)"
        )
    if column.null_count:
        raise InvalidLabels(f"the column {at!r} has nulls; every row needs an instant")
    try:  # what is finer than a microsecond is cut off
        instants = column.cast(INSTANT, safe=column.type.unit != "ns").cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InvalidLabels(f"the column {at!r} holds an instant {TOO_FAR}") from error
    at_us: Int64s = instants.to_numpy(zero_copy_only=False)
    if len(at_us) and not (at_us.min() >= TIME_US_MIN and at_us.max() < TIME_US_MAX):
        raise InvalidLabels(f"the column {at!r} holds an instant {TOO_FAR}")
    return Labels(table, at_us)


@dataclass(frozen=True, slots=True)
class Historical:
    """A column for each ref, in the order of the labels."""

    columns: dict[str, JoinedColumn]


def join_as_of(
    service: CompiledService,
    labels: Labels,
    log: LogReader,
    engine: HistoricalEngine,
    *,
    mode: Mode = "known",
    as_of_seq: int | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Historical:
    """The features of ``service`` for each label.

    ``as_of_seq`` pins the log: rows after that position do not exist. ``known`` answers what
    serving could have known at the instant; ``event`` is corrected history and must be asked for.
    """
    if mode not in get_args(Mode):  # a misspelt one must not be corrected history
        raise ValueError(f"there is no mode {mode!r}; use {' or '.join(get_args(Mode))}")
    no_collision(service, labels)
    by_read: dict[int, Mapping[str, JoinedColumn]] = {}
    for index, read in enumerate(service.reads):
        dtypes = read.view.entity.keys.values()
        keys = [
            labels.column(column, dtype, f"view {read.view.name!r}")
            for column, dtype in zip(read.key_columns, dtypes, strict=True)
        ]
        by_read[index] = engine.join(read.view, log, keys, labels.at_us, mode, as_of_seq)
        progress(index + 1, len(service.reads))
    found = {
        feature.ref: by_read[feature.read][feature.feature]
        for feature in (*service.features, *service.inputs)
        if feature.read is not None
    }
    for function in service.on_demand:
        found |= _evaluate(function, labels, found)
    return Historical({ref: found[ref] for ref in service.refs})


def no_collision(service: CompiledService, labels: Labels) -> None:
    """Raises ``DefinitionError`` when a column that would be added is there already."""
    present = set(labels.table.column_names)
    for ref in service.refs:
        for name in (ref, f"{ref}__status", f"{ref}__age_us"):
            if name in present:
                raise DefinitionError(
                    f"the column {name!r}", "the given rows have it already", "Rename theirs"
                )


def _evaluate(
    function: OnDemand,
    labels: Labels,
    found: Mapping[str, JoinedColumn],
) -> dict[str, JoinedColumn]:
    columns: dict[str, Any] = {ref: float_vector(found[ref]) for ref in function.inputs}
    for name, dtype in function.request.items():
        columns[name] = request_vector(
            labels.column(name, dtype, f"the request-time function {function.name!r}"), dtype, name
        )
    return {
        f"{function.name}:{output}": joined_output(values, function.outputs[output])
        for output, values in function(columns).items()
    }


def request_vector(column: pa.Array, dtype: str, name: str) -> Any:
    """A request field as functions take it. Raises ``MissingField`` where a row has none."""
    if column.null_count:
        raise MissingField(name, "every row")
    if dtype not in FIXED:
        return np.array([*column.to_pylist(), None], object)[:-1]
    if dtype == "timestamp":
        column = column.cast(pa.int64())
    return column.to_numpy(zero_copy_only=False)


def joined_output(values: Any, dtype: str) -> JoinedColumn:
    """A function's output as a column: NaN and None are null."""
    if dtype not in FIXED:
        array = pa.array(list(values), ARROW_TYPES[dtype])
        null = array.is_null().to_numpy(zero_copy_only=False)
    elif values.dtype == np.int64:
        null = np.zeros(len(values), np.bool_)
        array = typed(values, null, dtype)
    else:
        null = np.isnan(values)
        array = typed(np.where(null, 0, values), null, dtype)
    status = np.where(null, NULL_VALUE, PRESENT).astype(np.uint8)
    return JoinedColumn(array, status, np.full(len(status), NO_AGE, np.int64))


def with_columns(table: pa.Table, joined: Historical, *, statuses: bool) -> pa.Table:
    """The given columns, then the refs, then their statuses."""
    for ref, column in joined.columns.items():
        table = table.append_column(ref, column.values)
    if statuses:
        names = pa.array(STATUSES)
        named: dict[int, pa.Array] = {}  # features of a view mostly share one array of statuses
        for ref, column in joined.columns.items():
            if id(column.status) not in named:
                codes = pa.array(column.status.view(np.int8))
                named[id(column.status)] = pa.DictionaryArray.from_arrays(codes, names)
            table = table.append_column(ref + STATUS_SUFFIX, named[id(column.status)])
    return table
