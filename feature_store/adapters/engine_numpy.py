"""The default historical engine: numpy and pyarrow, in memory."""

from collections.abc import Sequence

import pyarrow as pa

from feature_store.domain.as_of import Mode
from feature_store.domain.join import Joined, columns_of, join_view
from feature_store.domain.schema import Int64s
from feature_store.ports import LogReader
from shared_features import View


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
        rows = log.read_columns(view.source, columns_of(view), up_to_seq=as_of_seq)
        return join_view(view, rows, keys, label_us, mode)
