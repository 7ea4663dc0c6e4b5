"""A live window of one column: integers that add up.

Minutes add up to hours and days, workers to services, segments to the whole; a restart loses
nothing that was stored. NaN, null, missing and both infinities are told apart here, before any
test sees the values.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.served import STATUSES
from monitor.domain import edges
from monitor.domain.baseline import category_keys
from monitor.domain.edges import Floats, Ints
from monitor.domain.reference import CategoricalReference, NumericReference, Reference

_PRESENT, _DEFAULTED = STATUSES.index("PRESENT"), STATUSES.index("DEFAULTED")
_NULL = STATUSES.index("NULL_VALUE")
_FACTS = ("rows", "nulls", "missing", "nans", "positive_inf", "negative_inf", "below", "above")
_STATUSES_AT = len(_FACTS)
_WEEKDAYS_AT = _STATUSES_AT + len(STATUSES)
_CELLS_AT = _WEEKDAYS_AT + 7


@dataclass(frozen=True, slots=True)
class ColumnCounts:
    """Counts of one column over one window; ``a + b`` merges.

    ``integers`` (int64) holds the facts, the feature statuses, rows by weekday and the cells;
    ``sums`` (float64) the sum and the sum of squares of the finite values minus the baseline
    mean. Both are plain vectors, so that a store may add them up without knowing more.
    """

    integers: Ints
    sums: Floats

    def __add__(self, other: "ColumnCounts") -> "ColumnCounts":
        return ColumnCounts(self.integers + other.integers, self.sums + other.sums)

    @property
    def cells(self) -> Ints:
        """Counts at the live edges [B + 1], or of the categories and the rest [C + 1]."""
        return self.integers[_CELLS_AT:]

    @property
    def statuses(self) -> Ints:
        """Rows by feature status, in the order of ``contracts.served.STATUSES``."""
        return self.integers[_STATUSES_AT:_WEEKDAYS_AT]

    @property
    def weekday_rows(self) -> Ints:
        """Rows by weekday, Monday first [7]."""
        return self.integers[_WEEKDAYS_AT:_CELLS_AT]

    @property
    def counted(self) -> int:
        """Rows with a usable value."""
        return int(self.cells.sum())

    def fact(self, name: str) -> int:
        """One of rows, nulls, missing, nans, positive_inf, negative_inf, below, above.

        ``below`` and ``above`` count values outside the range seen in training. For a categorical
        column ``above`` counts categories never seen in training.
        """
        return int(self.integers[_FACTS.index(name)])

    def pack(self) -> bytes:
        """Bytes for a store; ``unpack`` is the inverse."""
        return self.sums.astype("<f8").tobytes() + self.integers.astype("<i8").tobytes()

    @staticmethod
    def unpack(data: bytes) -> "ColumnCounts":
        """Raises ``ValueError`` when the bytes are not of a window."""
        return ColumnCounts(
            np.frombuffer(data, "<i8", offset=16).astype(np.int64),
            np.frombuffer(data, "<f8", count=2).astype(np.float64),
        )


def empty(reference: Reference) -> ColumnCounts:
    """A window in which nothing has happened."""
    cells = len(reference.counts if isinstance(reference, CategoricalReference) else ())
    if isinstance(reference, NumericReference):
        cells = len(reference.bins.counts)
    return ColumnCounts(np.zeros(_CELLS_AT + cells, dtype=np.int64), np.zeros(2))


def count_numeric(
    reference: NumericReference,
    values: Floats,
    statuses: npt.NDArray[np.uint8] | None = None,
    weekday: int | Ints = 0,
) -> ColumnCounts:
    """Counts values [n] (null is NaN) with their feature statuses [n] and weekday(s)."""
    window = empty(reference)
    rounded = edges.single(values)
    finite = rounded[np.isfinite(rounded)]
    profile = reference.profile
    _count_facts(window.integers, rounded, statuses, weekday)
    out = window.integers
    out[_FACTS.index("positive_inf")] = np.count_nonzero(rounded == np.inf)
    out[_FACTS.index("negative_inf")] = np.count_nonzero(rounded == -np.inf)
    out[_FACTS.index("below")] = np.count_nonzero(finite < profile.minimum)
    out[_FACTS.index("above")] = np.count_nonzero(finite > profile.maximum)
    out[_CELLS_AT:] = edges.count_rounded(finite, reference.bins.edges)
    centred = finite - profile.mean
    window.sums[:] = centred.sum(), np.square(centred).sum()
    return window


def count_categorical(
    reference: CategoricalReference,
    values: Sequence[str | None] | npt.ArrayLike,
    statuses: npt.NDArray[np.uint8] | None = None,
    weekday: int | Ints = 0,
) -> ColumnCounts:
    """Counts values [n]: strings, or numbers of a column profiled as categorical."""
    window = empty(reference)
    found = _tally(values)
    rows, null = sum(found.values()), found.pop(None, 0)
    absent = np.zeros(rows)
    if null:
        absent[_nulls_at(values)] = np.nan
    _count_facts(window.integers, absent, statuses, weekday)
    rest = len(reference.index)
    at = np.array([reference.index.get(name or "", rest) for name in found], dtype=np.int64)
    cells = np.bincount(at, weights=np.array([*found.values()], float), minlength=rest + 1)
    window.integers[_CELLS_AT:] = cells.astype(np.int64)
    if reference.profile.other == 0:
        window.integers[_FACTS.index("above")] = int(cells[rest])
    return window


def count_column(
    reference: Reference,
    values: Sequence[str | None] | npt.ArrayLike,
    statuses: npt.NDArray[np.uint8] | None = None,
    weekday: int | Ints = 0,
) -> ColumnCounts:
    """Counts by whichever way the column was profiled.

    Text in a column profiled as numeric counts as NaN: a change of schema must not look clean.
    """
    if isinstance(reference, CategoricalReference):
        return count_categorical(reference, values, statuses, weekday)
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        array = np.full(len(array), np.nan)
    return count_numeric(reference, array.astype(np.float64), statuses, weekday)


def _tally(values: Sequence[str | None] | npt.ArrayLike) -> dict[str | None, int]:
    """Rows by category name; None is null. Names are made once a distinct value, not once a row."""
    array = np.asarray(values)
    distinct: Counter[str | None] = Counter()
    if array.dtype.kind in "biuf":
        numbers, counts = np.unique(array, return_counts=True)
        raw: Iterable[tuple[object, int]] = zip(numbers, counts.tolist(), strict=True)
        keys = category_keys(numbers)
    else:
        raw = Counter(array.tolist()).items()
        keys = category_keys(np.array([value for value, _ in raw], dtype=object))
    for key, (_, rows) in zip(keys, raw, strict=True):
        distinct[key] += rows
    return distinct


def _nulls_at(values: Sequence[str | None] | npt.ArrayLike) -> npt.NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        infinite: npt.NDArray[np.bool_] = ~np.isfinite(edges.single(array))
        return infinite
    return np.array(
        [value is None or (isinstance(value, float) and not np.isfinite(value)) for value in array]
    )


def _count_facts(
    out: Ints, values: Floats, statuses: npt.NDArray[np.uint8] | None, weekday: int | Ints
) -> None:
    """Rows, nulls (the store holds null), missing (the store has nothing usable), and NaN that
    came as a value. Without statuses every NaN is a null."""
    absent = np.isnan(values)
    out[_FACTS.index("rows")] = len(values)
    if statuses is None:
        out[_FACTS.index("nulls")] = np.count_nonzero(absent)
    else:
        why = np.bincount(statuses[absent], minlength=len(STATUSES))
        out[_FACTS.index("nulls")] = why[_NULL]
        out[_FACTS.index("nans")] = why[_PRESENT] + why[_DEFAULTED]
        missing = why.sum() - why[_NULL] - why[_PRESENT] - why[_DEFAULTED]
        out[_FACTS.index("missing")] = missing
        out[_STATUSES_AT:_WEEKDAYS_AT] = np.bincount(statuses, minlength=len(STATUSES))
    if isinstance(weekday, int):
        out[_WEEKDAYS_AT + weekday] = len(values)
    else:
        out[_WEEKDAYS_AT:_CELLS_AT] = np.bincount(weekday, minlength=7)
