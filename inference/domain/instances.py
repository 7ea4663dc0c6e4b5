"""What a caller sends: rows of typed fields, checked strictly, taken column by column."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FieldCode = Literal["missing", "wrong-type", "not-finite", "out-of-range", "not-an-instance"]
ERRORS_MAX = 20
_INT64_MAX = 2**63 - 1
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_TEXT_MAX = 4_096
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)

Row = Mapping[str, Any]  # a JSON object, as a caller sent it

_WANTED = {
    "float64": "a number",
    "float32": "a number within single precision",
    "int64": "a whole number",
    "int32": "a whole number of 32 bits",
    "bool": "true or false",
    "string": f"a text of at most {_TEXT_MAX} characters",
    "timestamp": "an ISO 8601 text with an offset, such as 2013-12-01T12:00:00Z",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong: where (row and field) and what; never the value itself."""

    row: int
    field: str
    code: FieldCode
    dtype: str = ""

    @property
    def pointer(self) -> str:
        """The place in the request's body (RFC 6901)."""
        field = self.field.replace("~", "~0").replace("/", "~1")
        place = f"/instances/{self.row}"
        return f"{place}/{field}" if field else place

    def as_json(self) -> dict[str, str]:
        """As it stands in a problem's ``errors``."""
        return {"pointer": self.pointer, "code": self.code}

    def sentence(self) -> str:
        """What is wanted there, in words."""
        verb = "is missing: it is" if self.code == "missing" else "is to be"
        return f"{self.pointer} {verb} {_WANTED.get(self.dtype, 'an object of fields')}"


class FieldRefused(ValueError):
    """A value does not fit its field."""

    def __init__(self, code: FieldCode) -> None:
        super().__init__(code)
        self.code: FieldCode = code


def _number(value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise FieldRefused("wrong-type")
    try:
        number = float(value)
    except OverflowError:
        raise FieldRefused("out-of-range") from None
    if not math.isfinite(number):
        raise FieldRefused("not-finite")
    return number


def _single(value: object) -> float:
    number = _number(value)
    if abs(number) > _FLOAT32_MAX:
        raise FieldRefused("out-of-range")
    return number


def _integer(value: object) -> int:
    if type(value) is not int:
        raise FieldRefused("wrong-type")
    if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise FieldRefused("out-of-range")
    return value


def _small_integer(value: object) -> int:
    number = _integer(value)
    if not -(2**31) <= number < 2**31:
        raise FieldRefused("out-of-range")
    return number


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise FieldRefused("wrong-type")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise FieldRefused("wrong-type")
    if len(value) > _TEXT_MAX:
        raise FieldRefused("out-of-range")
    return value


def _instant(value: object) -> int:
    """Microseconds since 1970 UTC of an ISO 8601 text that names its zone."""
    if type(value) is not str:
        raise FieldRefused("wrong-type")
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise FieldRefused("wrong-type")
        return (instant - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as refused:
        raise refused if isinstance(refused, FieldRefused) else FieldRefused("wrong-type") from None


_TAKERS: dict[str, Callable[[object], Any]] = {
    "float64": _number,
    "float32": _single,
    "int64": _integer,
    "int32": _small_integer,
    "bool": _boolean,
    "string": _text,
    "timestamp": _instant,
}
_FLOATS = {"float64": float(np.finfo(np.float64).max), "float32": _FLOAT32_MAX}
_TEXT: frozenset[type] = frozenset({str})
_NULLABLE_TEXT: frozenset[type] = frozenset({str, type(None)})
_FEW_CELLS = 100
"""Looking at the types of so many costs less than at their values by vectors."""
DTYPES = frozenset(_TAKERS)
"""The dtypes that a request field may have."""


Values = list[Any] | npt.NDArray[np.float64]
"""A column: floats as an array, everything else as a list."""


def _floats(values: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """The numbers, or None where any value is none: packing costs a third of ``np.array`` and, of
    what JSON has, takes nothing else but booleans, which are to be looked for among 0 and 1."""
    try:
        found = np.frombuffer(struct.pack(f"{len(values)}d", *values))
    except struct.error:  # as well of an integer beyond every float
        return None
    few = len(values) < _FEW_CELLS
    if (few or np.count_nonzero((found == 0) | (found == 1))) and bool in set(map(type, values)):
        return None
    return found


def _are_texts(values: Sequence[Any], *, nullable: bool) -> bool:
    try:
        if len("".join(values)) <= _TEXT_MAX:  # then each is, and a join takes nothing but texts
            return True
    except TypeError:
        pass
    allowed = _NULLABLE_TEXT if nullable else _TEXT
    return (
        set(map(type, values)) <= allowed
        and max(map(len, filter(None, values)), default=0) <= _TEXT_MAX
    )


@dataclass(frozen=True, slots=True)
class InstanceField:
    """One field of an instance. Its ``whole`` takes a column at once, where the dtype has a way
    that needs no Python a value; anything odd is left to ``take``, which knows what is wrong."""

    name: str
    dtype: str
    nullable: bool = False
    """Keys may be null (a null key matches nothing in the store), request fields may not."""

    def take(self, row: Row) -> Any:
        """This field's value, converted. Raises ``FieldRefused``."""
        if self.name not in row:
            raise FieldRefused("missing")
        value = row[self.name]
        if value is None and self.nullable:
            return None
        return _TAKERS[self.dtype](value)

    def whole(self, values: tuple[Any, ...]) -> "Values":
        """A column of values, converted. Raises ``FieldRefused``."""
        if self.dtype == "string":
            if _are_texts(values, nullable=self.nullable):
                return list(values)
        elif self.dtype in _FLOATS:
            column = _floats(values)
            if column is not None and (np.abs(column) <= _FLOATS[self.dtype]).all():
                return column
        take = _TAKERS[self.dtype]
        if self.nullable:
            return [None if value is None else take(value) for value in values]
        return list(map(take, values))


class InstanceSchema:
    """The fields that one model version needs; others are ignored, because which version answers
    is decided by the platform, not by the caller."""

    __slots__ = ("_floats", "_limit", "_others", "_take_floats", "fields")

    def __init__(self, fields: Sequence[InstanceField]) -> None:
        self.fields = tuple(fields)
        floats = [one for one in fields if one.dtype in _FLOATS and not one.nullable]
        if len(floats) < 2:
            floats = []  # an itemgetter of one gives no tuple
        self._floats = [one.name for one in floats]
        self._limit = min((_FLOATS[one.dtype] for one in floats), default=0.0)
        self._take_floats = itemgetter(*self._floats) if floats else None
        self._others = tuple(one for one in fields if one not in floats)

    def columns(self, rows: Sequence[Row]) -> dict[str, Values]:
        """Every field's values. Raises ``FieldRefused`` or ``KeyError`` when any does not fit;
        ``errors`` then says which."""
        if not self.fields:
            raise FieldRefused("not-an-instance")
        columns = self._all_floats(rows)
        fields = self.fields if columns is None else self._others
        columns = columns or {}
        for field in fields:
            columns[field.name] = field.whole(tuple([row[field.name] for row in rows]))
        return columns

    def _all_floats(self, rows: Sequence[Row]) -> dict[str, Values] | None:
        """All float fields at once (a column at a time costs a row of ten 25 µs instead of 8); None
        where any value is odd. Raises ``KeyError``."""
        if self._take_floats is None:
            return None
        values = _floats(tuple(chain.from_iterable(map(self._take_floats, rows))))
        if values is None or not np.maximum.reduce(np.abs(values)) <= self._limit:
            return None
        matrix = values.reshape(len(rows), len(self._floats))
        return dict(zip(self._floats, matrix.T.copy(), strict=True))

    def errors(self, rows: Sequence[object], first: int = 0) -> list[FieldError]:
        """What is wrong with these rows, at most ``ERRORS_MAX``; empty when ``columns`` works.

        ``first`` is the place of the first of them in its request.
        """
        found: list[FieldError] = []
        for index, row in enumerate(rows, first):
            if not isinstance(row, dict):
                found.append(FieldError(index, "", "not-an-instance"))
            else:
                for field in self.fields:
                    try:
                        field.take(row)
                    except FieldRefused as refused:
                        found.append(FieldError(index, field.name, refused.code, field.dtype))
            if len(found) >= ERRORS_MAX:
                return found[:ERRORS_MAX]
        return found
