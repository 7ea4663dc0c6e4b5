"""The facade as a training script uses it: frames in, the same kind out, every misuse named."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store.adapters.log_writer_parquet import LogBusy, LogWriter
from feature_store.domain.intake import RefusedBatch
from feature_store.facade import FeatureStore
from feature_store.join_as_of import InvalidLabels
from kit.clock import FakeClock
from shared_features import DefinitionError, MissingField, UnknownRef
from tests.feature_store.flights import catalogue

NOW = datetime(2025, 3, 30, 12, tzinfo=UTC)
REFS = ["late_1h:mean", "profile:name", "spread:per_plane"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(int(NOW.timestamp()) * 1_000_000)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> FeatureStore:
    found = FeatureStore(catalogue(), tmp_path / "feature_store" / "log", clock=clock)
    ago = [NOW - timedelta(minutes=m) for m in (30, 20)]
    arrivals = {"carrier": ["UA", "UA"], "number": [7, 7], "delay": [10, 20], "taxi": [0.5, 1.5]}
    found.load("arrivals", pa.table({**arrivals, "event_time": ago}))
    found.load("profile", [{"carrier": "UA", "name": "United", "fleet": 4, "event_time": ago[0]}])
    return found


def labels(**changes: Any) -> dict[str, Any]:
    after = NOW + timedelta(seconds=1)
    given = {"carrier": ["UA", "ZZ", "UA"], "at": [after] * 3, "distance": [100, 200, 400]}
    return {**given, "own": ["a", "b", "c"], **changes}


def test_pandas_in_pandas_out_with_its_index(store: FeatureStore) -> None:
    frame = pd.DataFrame(labels(), index=[7, 5, 7])
    found = store.get_historical_features(frame, REFS, at="at")
    assert isinstance(found, pd.DataFrame)
    assert found.index.tolist() == [7, 5, 7]
    assert found["own"].tolist() == ["a", "b", "c"]
    assert found["late_1h:mean"].tolist()[0::2] == [15.0, 15.0]
    assert found["profile:name__status"].tolist() == ["PRESENT", "NOT_FOUND", "PRESENT"]
    assert found["spread:per_plane"].tolist()[0::2] == [25.0, 100.0]


def test_polars_in_polars_out(store: FeatureStore) -> None:
    found = store.get_historical_features(pl.DataFrame(labels()), REFS, at="at", statuses=False)
    assert isinstance(found, pl.DataFrame)
    assert found.columns == ["carrier", "at", "distance", "own", *REFS]
    assert found["profile:name"].to_list() == ["United", None, "United"]


def test_arrow_in_arrow_out_and_a_service_by_name(store: FeatureStore) -> None:
    table = pa.table({**labels(), "number": pa.array([7, 7, 8])})
    found = store.get_historical_features(table, feature_service="model", at="at")
    assert isinstance(found, pa.Table)
    assert found["last_arrival:delay"].to_pylist() == [20, None, None]


@pytest.mark.parametrize("engine", ["auto", "numpy", "duckdb"])
def test_a_pinned_data_set_does_not_change_by_later_rows(store: FeatureStore, engine: Any) -> None:
    table = pa.table(labels())
    pin = store.pin()
    before = store.get_historical_features(table, REFS, at="at", as_of_seq=pin.seq, engine=engine)
    late = {"carrier": "UA", "number": 7, "delay": 99, "event_time": NOW - timedelta(minutes=5)}
    store.load("arrivals", [late])
    after = store.get_historical_features(table, REFS, at="at", as_of_seq=pin.seq, engine=engine)
    assert after.equals(before)
    assert store.pin(pin.seq) == pin
    assert store.pin() != pin
    now = store.get_historical_features(table, REFS, at="at", engine=engine)
    assert not now.equals(before)


@pytest.mark.parametrize("engine", ["numpy", "duckdb"])
def test_a_misspelt_mode_is_no_other_mode(store: FeatureStore, engine: Any) -> None:
    wrong: Any = "Known"
    with pytest.raises(ValueError, match="use known or event"):
        store.get_historical_features(pa.table(labels()), REFS, at="at", mode=wrong, engine=engine)


def test_a_position_that_the_log_has_not_reached_pins_nothing(store: FeatureStore) -> None:
    end = store.pin().seq
    for seq in (-1, end + 1):
        with pytest.raises(ValueError, match=f"ends at {end}"):
            store.get_historical_features(pa.table(labels()), REFS, at="at", as_of_seq=seq)
        with pytest.raises(ValueError, match=f"ends at {end}"):
            store.pin(seq)


def test_what_is_missing_or_wrong_is_named(store: FeatureStore) -> None:
    def join(refs: list[str], **changes: Any) -> Any:
        return store.get_historical_features(pa.table(labels(**changes)), refs, at="at")

    naive = [NOW.replace(tzinfo=None)] * 3
    with pytest.raises(InvalidLabels, match="tz_localize"):
        join(["late_1h:mean"], at=naive)
    with pytest.raises(MissingField, match="'number'"):
        join(["last_arrival:delay"])
    with pytest.raises(InvalidLabels, match="carrier"):
        join(["late_1h:mean"], carrier=[1, 2, 3])
    with pytest.raises(UnknownRef, match="late_1h:median"):
        join(["late_1h:median"])
    with pytest.raises(DefinitionError, match="Rename theirs"):
        join(["late_1h:mean"], **{"late_1h:mean": [1, 2, 3]})
    with pytest.raises(MissingField, match="distance"):
        join(["spread:per_plane"], distance=[1, None, 3])
    with pytest.raises(ValueError, match="one of the two"):
        store.get_historical_features(pa.table(labels()), at="at")


def test_a_null_key_keeps_its_row(store: FeatureStore) -> None:
    table = pa.table(labels(carrier=["UA", None, "UA"]))
    found = store.get_historical_features(table, ["late_1h:flights", "profile:name"], at="at")
    assert found["late_1h:flights"].to_pylist() == [2, 0, 2]
    assert found["profile:name__status"].to_pylist()[1] == "NOT_FOUND"


def test_loading_refuses_what_would_lose_a_bit(store: FeatureStore) -> None:
    good = {"carrier": ["UA"], "number": [1], "delay": [1], "taxi": [0.5], "event_time": [NOW]}
    for wrong in (
        {"delay": [1.5]},
        {"delay": [True]},
        {"delay": ["1"]},
        {"event_time": [NOW.replace(tzinfo=None)]},
        {"colour": ["red"]},
    ):
        with pytest.raises(RefusedBatch):
            store.load("arrivals", pa.table({**good, **wrong}))


def test_loading_beside_the_service_is_refused(store: FeatureStore) -> None:
    with LogWriter(store.log.folder), pytest.raises(LogBusy):
        store.load("arrivals", [])


def test_reading_needs_neither_pandas_nor_polars() -> None:
    import subprocess

    code = (
        "import feature_store.facade, sys; print({'pandas', 'polars', 'duckdb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("engine", ["numpy", "duckdb"])
def test_no_labels_make_no_rows_of_the_same_types(tmp_path: Path, engine: Any) -> None:
    store = FeatureStore(catalogue(), tmp_path / "log")
    at = datetime(2025, 3, 30, tzinfo=UTC)
    row = {"carrier": "UA", "number": 7, "delay": 1, "taxi": 0.5, "event_time": at}
    labels = pa.table({"carrier": ["UA"], "number": [7], "event_time": [at]})
    refs = ["late_1h:taxi", "late_1h:mean", "today:flights", "last_arrival:delay"]
    for _ in range(2):  # an empty log, then one with a row
        some = store.get_historical_features(labels, refs, engine=engine)
        none = store.get_historical_features(labels.slice(0, 0), refs, engine=engine)
        assert len(none) == 0
        assert none.schema == some.schema
        store.load("arrivals", [row])
