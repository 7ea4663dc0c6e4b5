from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.facade import FeatureStore
from kit.clock import FakeClock
from leadline.demo import features
from leadline.demo.flights import DECEMBER_US, END_US
from leadline.demo.models import WITH_ONLINE_FEATURES, training_set
from leadline.demo.seed import git_commit, history, retrieval, stream_of
from leadline.demo.setup import set_up
from leadline.local.steps import Steps
from leadline.state import StateDir
from tests.leadline.demo.reference import reference_join


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory whose feature log holds the year's last four months, December included."""
    folder = tmp_path_factory.mktemp("state")
    store = FeatureStore.open(folder, [features.__name__], clock=FakeClock(DECEMBER_US))
    for name, table in history(END_US):
        assert store.load(name, table).accepted == len(table)
    return folder


def _bits(column: pa.ChunkedArray) -> bytes:
    """The values bit for bit; a null number is the one NaN."""
    values = column.to_numpy()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values)
    raw: bytes = values.tobytes()
    return raw


def test_the_historical_join_is_the_reference_bit_for_bit(root: Path) -> None:
    # December lies in the log too: what was not known at a row's instant must not reach it.
    found = training_set(retrieval(root), WITH_ONLINE_FEATURES).table
    expected = training_set(reference_join, WITH_ONLINE_FEATURES).table
    assert len(found) == len(expected) > 70_000
    for ref in features.DELAY_ONLINE.refs:
        assert _bits(found[ref]) == _bits(expected[ref]), ref


def test_history_ends_where_the_demo_begins() -> None:
    for _, table in history(DECEMBER_US):
        instants = np.asarray(table["event_time"].cast(pa.int64()))
        assert instants.max() < DECEMBER_US
        assert table["created_time"].equals(table["event_time"])


def test_a_table_survives_the_wire() -> None:
    _, table = next(history(DECEMBER_US))
    assert pa.ipc.open_stream(stream_of(table)).read_all().equals(table)


def test_a_version_says_which_code_made_it() -> None:
    commit = git_commit()
    assert len(commit) == 40 or commit.startswith("leadline ")


def test_a_demo_that_is_set_up_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "seeded.json").write_text("{}")
    set_up(StateDir(tmp_path), Steps())  # where no platform runs
