"""The default historical engine: numpy and pyarrow, in memory."""

from collections.abc import Sequence

import pyarrow as pa

from feature_store.domain.as_of import Mode
from feature_store.domain.join import (
    Joined,
    aggregated,
    join_view,
    judged,
    rows_seen,
    times_and_keys,
)
from feature_store.domain.schema import Int64s
from feature_store.ports import LogReader
from shared_features import FeatureView, View


class NumpyEngine:
    """Reads a view's source and joins by whole vectors, in memory."""

    def join(
        self,
        view: View,
        log: LogReader,
        keys: Sequence[pa.Array],
        label_us: Int64s,
        mode: Mode,
        as_of_seq: int | None,
    ) -> Joined:
        """See ``ports.HistoricalEngine``."""
        source, names = view.source, times_and_keys(view)
        if isinstance(view, FeatureView):
            rows = log.read_columns(source, names, up_to_seq=as_of_seq)
            times, found = rows_seen(view, rows, keys, label_us, mode)
            # values last, when what the search took is free again: it lowers the peak by a fifth
            values = log.read_columns(source, ["__seq", *view.features], up_to_seq=as_of_seq)
            return judged(view, values, times, found, label_us)
        names = list(dict.fromkeys([*names, *aggregated(view)]))
        rows = log.read_columns(source, names, up_to_seq=as_of_seq)
        return join_view(view, rows, keys, label_us, mode)
