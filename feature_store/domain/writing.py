"""What the online applier writes for a view: from log rows to records, merges and window rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_store.domain.as_of import order_ranks
from feature_store.domain.cells import Raw, WindowLayout
from feature_store.domain.columns import last_field, last_layout, view_field
from feature_store.domain.keys import KeyEncoder, distinct_keys
from feature_store.domain.records import RecordLayout
from feature_store.domain.schema import Int64s, RowTimes, row_times
from feature_store.domain.spans import Span, span_of
from shared_features import FeatureView, View
from shared_features.canonical import describe_view, fingerprint

Hash = bytes


@dataclass(frozen=True, slots=True)
class KeyedRows:
    """Log rows whose key is whole, and the hash of each distinct key by code."""

    codes: Int64s
    hashes: list[Hash]
    table: pa.Table
    times: RowTimes


@dataclass(frozen=True, slots=True)
class LatestWrites:
    """``due``: one winning record a hash. ``merges``: hashes of which rows wait, with all rows."""

    due: list[tuple[Hash, bytes]]
    merges: dict[Hash, list[bytes]]


@dataclass(frozen=True, slots=True)
class ViewWriter:
    """How one view's rows become values in the online store."""

    view: View
    fingerprint: str
    field: bytes
    encoder: KeyEncoder
    latest: RecordLayout | None
    """Of the latest row: a latest view's features, or the columns of ``last`` aggregates."""
    latest_field: bytes
    window: WindowLayout | None
    span: Span | None

    def keyed(self, rows: pa.Table) -> KeyedRows:
        """The rows that have a whole key."""
        codes, keys = distinct_keys(rows, list(self.view.entity.keys))
        hashes = [self.encoder.of_parts(key) or b"" for key in keys]
        times = row_times(rows, self.view.source.lag_us)
        whole = codes >= 0
        if not whole.all():
            codes, rows, times = codes[whole], rows.filter(pa.array(whole)), times.take(whole)
        return KeyedRows(codes, hashes, rows, times)

    def latest_writes(self, keyed: KeyedRows, now_us: int) -> LatestWrites:
        """Records to write; rows that a greater due row of the batch beats are left out."""
        assert self.latest is not None
        ranks = order_ranks(keyed.times)
        due = keyed.times.available <= now_us
        best = np.full(len(keyed.hashes), -1, np.int64)
        np.maximum.at(best, keyed.codes[due], ranks[due])
        kept = np.flatnonzero((ranks == best[keyed.codes]) | (~due & (ranks > best[keyed.codes])))
        waits = np.zeros(len(keyed.hashes), np.bool_)
        waits[keyed.codes[~due]] = True
        records = self.latest.pack(
            keyed.table.select(list(self.latest.columns)).take(pa.array(kept)),
            keyed.times.take(kept),
        )
        simple: list[tuple[Hash, bytes]] = []
        merges: dict[Hash, list[bytes]] = {}
        codes = keyed.codes[kept]
        for code, waiting, record in zip(
            codes.tolist(), waits[codes].tolist(), records, strict=True
        ):
            if waiting:
                merges.setdefault(keyed.hashes[code], []).append(record)
            else:
                simple.append((keyed.hashes[code], record))
        return LatestWrites(simple, merges)

    def window_rows(self, keyed: KeyedRows, now_us: int, *, fresh: bool) -> dict[Hash, Raw]:
        """Rows by hash. On a fresh store rows that have left the window already are left out."""
        assert self.window is not None
        assert self.span is not None
        codes, table, times = keyed.codes, keyed.table, keyed.times
        if fresh:
            gone = self.span.ends_us(times.event) <= now_us - self.span.slack_us
            kept = np.flatnonzero(~gone | times.deleted)
            codes, times = codes[kept], times.take(kept)
            table = table.select(list(self.window.columns)).take(pa.array(kept))
        if not len(codes):
            return {}
        order = np.argsort(codes, kind="stable")
        rows = self.window.rows_of(table, times)[order]
        sorted_codes = codes[order]
        cuts = np.flatnonzero(np.diff(sorted_codes)) + 1
        firsts = [0, *cuts.tolist()]
        groups = np.split(rows, cuts)
        return {
            keyed.hashes[int(sorted_codes[first])]: group
            for first, group in zip(firsts, groups, strict=True)
        }


def view_writer(view: View, namespace: str) -> ViewWriter:
    """The writer of a view."""
    printed = fingerprint(describe_view(view))
    field = view_field(printed)
    encoder = KeyEncoder(view.entity, namespace)
    if isinstance(view, FeatureView):
        latest = RecordLayout(view.features)
        return ViewWriter(view, printed, field, encoder, latest, field, None, None)
    lasts = last_layout(view)
    cells = any(aggregate.function != "last" for aggregate in view.features.values())
    return ViewWriter(
        view,
        printed,
        field,
        encoder,
        lasts if lasts.columns else None,
        last_field(field),
        WindowLayout(view) if cells else None,
        span_of(view),
    )


def chunks(count: int, size: int) -> Sequence[range]:
    """Consecutive ranges of at most ``size`` that cover ``count``."""
    return [range(at, min(at + size, count)) for at in range(0, count, size)]
