"""Online features: what is known now, with request-time features computed by the shared code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from contracts.served import STATUSES
from feature_store.domain.columns import NO_AGE, Column
from feature_store.domain.intake import parse_value
from feature_store.domain.plan import FeaturePlan, LookedUp
from feature_store.domain.statuses import NULL_VALUE, PRESENT
from feature_store.metrics import LOOK_UP_SECONDS, count_statuses
from feature_store.online import OnlineReader
from kit.clock import Clock
from kit.deadline import Deadline
from shared_features import CompiledService, MissingField
from shared_features.dtypes import FIXED

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidField(ValueError):
    """A request field of the wrong type; the message names the field, not the value."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Features of n rows; ``columns`` has one entry for each ref, in order."""

    columns: dict[str, Column]
    dtypes: Mapping[str, str]
    now_us: int

    def rows(self) -> list[dict[str, Any]]:
        """Each row as a mapping: the refs, then ``<ref>__status``."""
        values, statuses = [], []
        told: dict[int, tuple[list[str], list[bool] | None]] = {}
        for ref, column in self.columns.items():
            place = id(column.status)  # features of a view mostly share one array
            if place not in told:
                codes = column.status.tolist()
                told[place] = [STATUSES[code] for code in codes], _missing(codes)
            names, missing = told[place]
            values.append(_plain(column, self.dtypes[ref], missing))
            statuses.append(names)
        keys = [*self.columns, *(f"{ref}__status" for ref in self.columns)]
        return [
            dict(zip(keys, cells, strict=True)) for cells in zip(*values, *statuses, strict=True)
        ]


def plain_values(column: Column, dtype: str) -> list[Any]:
    """The values as Python's own, with None for null; timestamps are zone-aware datetimes."""
    return _plain(column, dtype, _missing(column.status.tolist()))


def _missing(codes: list[int]) -> list[bool] | None:
    return [code != PRESENT for code in codes] if any(codes) else None


assert PRESENT == 0  # so that any other code is true


def _plain(column: Column, dtype: str, missing: list[bool] | None) -> list[Any]:
    values: list[Any]
    if column.exact is None:
        values = column.values if isinstance(column.values, list) else column.values.tolist()
    else:
        values = column.exact.tolist()
        if dtype == "bool":
            values = [value == 1 for value in values]
        elif dtype == "timestamp":
            values = [_EPOCH + timedelta(microseconds=value) for value in values]
    if missing is None:
        return values
    return [None if gone else value for gone, value in zip(missing, values, strict=True)]


async def look_up(
    reader: OnlineReader,
    plan: FeaturePlan,
    entity_rows: Sequence[Mapping[str, Any]],
    clock: Clock,
    deadline: Deadline | None = None,
) -> Answered:
    """Look up and compute every ref of the plan's service."""
    service = plan.service
    began_ns = clock.monotonic_ns()
    request = request_columns(service, entity_rows)
    found = await reader.look_up(plan, entity_rows, clock.now_us(), deadline)
    columns = {**found.columns, **computed(service, found, request)}
    LOOK_UP_SECONDS.observe((clock.monotonic_ns() - began_ns) / 1e9)
    _count(plan, columns)
    dtypes = {feature.ref: feature.dtype for feature in service.features}
    return Answered({ref: columns[ref] for ref in service.refs}, dtypes, found.now_us)


def _count(plan: FeaturePlan, columns: Mapping[str, Column]) -> None:
    """Count statuses by view; features of a view mostly share one array of them."""
    counted: dict[tuple[str, int], list[Any]] = {}
    for ref, view in plan.views.items():
        status = columns[ref].status
        counted.setdefault((view, id(status)), [status, 0])[1] += 1
    for (view, _), (status, times) in counted.items():
        count_statuses(view, status, times)


def request_columns(service: CompiledService, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The request fields as vectors. Raises ``MissingField`` and ``InvalidField``."""
    columns: dict[str, Any] = {}
    for name, dtype in service.request_fields.items():
        values = [row.get(name) for row in rows]
        if any(value is None for value in values):
            raise MissingField(name, f"feature service {service.name!r}")
        try:
            parsed = [parse_value(value, dtype, name) for value in values]
        except ValueError as error:
            raise InvalidField(str(error)) from None
        columns[name] = _vector(parsed, dtype)
    return columns


def _vector(values: list[Any], dtype: str) -> Any:
    if dtype not in FIXED:
        return np.array([*values, None], object)[:-1]
    return np.array(values, "int64" if dtype == "timestamp" else dtype)


def computed(
    service: CompiledService, found: LookedUp, request: Mapping[str, Any]
) -> dict[str, Column]:
    """The outputs of the service's request-time functions."""
    columns: dict[str, Column] = {}
    no_age = np.full(found.rows, NO_AGE, np.int64)
    for function in service.on_demand:
        given = {ref: _input(found.columns[ref]) for ref in function.inputs}
        given |= {name: request[name] for name in function.request}
        for output, values in function(given).items():
            columns[f"{function.name}:{output}"] = _output(values, function.outputs[output], no_age)
    return columns


def _input(column: Column) -> Any:
    if isinstance(column.values, list):
        return np.array([*column.values, None], object)[:-1]
    return column.values


def _output(values: Any, dtype: str, no_age: Any) -> Column:
    if dtype not in FIXED:
        null = np.array([value is None for value in values], np.bool_)
        listed = list(values)
        return Column(listed, np.where(null, NULL_VALUE, PRESENT).astype(np.uint8), no_age)
    if values.dtype == np.int64:
        status = np.full(len(values), PRESENT, np.uint8)
        return Column(values.astype(np.float64), status, no_age, values)
    null = np.isnan(values)
    status = np.where(null, NULL_VALUE, PRESENT).astype(np.uint8)
    exact = None
    if not dtype.startswith("float"):
        exact = np.where(null, 0, values).astype(np.int64)
    return Column(values, status, no_age, exact)
