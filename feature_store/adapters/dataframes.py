"""pandas, polars and Arrow in; the same kind out. Neither pandas nor polars is needed to run."""

import sys
import warnings
from typing import Any

import pyarrow as pa


def to_arrow(frame: Any) -> pa.Table:
    """An Arrow table of a pandas or polars DataFrame, an Arrow table or batch, or mappings."""
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    if isinstance(frame, list | tuple):
        return pa.Table.from_pylist(list(frame))
    kind = type(frame).__module__.partition(".")[0]
    if kind == "pandas":
        with warnings.catch_warnings():
            # pandas 3 deprecates the way in which pyarrow reads its zone-aware columns
            warnings.simplefilter("ignore", DeprecationWarning)
            return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "__arrow_c_stream__"):
        return pa.table(frame)
    raise TypeError(f"{type(frame).__name__} is no DataFrame or Arrow table that is known here")


def from_arrow(table: pa.Table, like: Any) -> Any:
    """``table`` as the kind of frame that ``like`` is. A pandas frame keeps its index."""
    kind = type(like).__module__.partition(".")[0]
    if kind == "pandas":
        frame = table.to_pandas()
        frame.index = like.index
        return frame
    if kind == "polars":
        return sys.modules["polars"].from_arrow(table)
    if isinstance(like, list | tuple):
        return table.to_pylist()
    return table
