import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from leadline.demo.features import CALENDAR
from leadline.demo.flights import DAY_US, DECEMBER_US, END_US, asks, between
from leadline.demo.models import (
    CALENDAR_ONLY,
    WITH_ONLINE_FEATURES,
    Recipe,
    columns_of,
    train,
    training_rows,
    training_set,
)
from leadline.publish.publication import Publication, build
from leadline.publish.rows import Floats, matrix, rows_of
from shared_features import load_catalogue
from tests.leadline.demo.reference import reference_join


@pytest.fixture(scope="module")
def december() -> pa.Table:
    rows = between(asks(), "asked_at", DECEMBER_US, END_US)
    labelled = rows.filter(rows["late"].is_valid()).rename_columns({"asked_at": "event_time"})
    return reference_join(labelled, "delay_online")


def _publication(recipe: Recipe) -> Publication:
    service = load_catalogue(["leadline.demo.features"]).compile(recipe.feature_service)
    given = training_set(reference_join, recipe)
    return train(given, recipe, service, git_commit="0" * 40, now="2013-12-01T00:00:00Z")


def _scores(publication: Publication, recipe: Recipe, table: pa.Table) -> Floats:
    rows = rows_of(columns_of(table, recipe), recipe.inputs)
    names = [column.name for column in recipe.inputs]
    given = matrix(rows, names, publication.categories)
    scores: Floats = publication.model.predict_proba(given)[:, 1]
    return scores


@pytest.fixture(scope="module")
def online() -> Publication:
    return _publication(WITH_ONLINE_FEATURES)


def test_version_1_knows_the_calendar_only_and_misses_december(december: pa.Table) -> None:
    plain = _publication(CALENDAR_ONLY)
    scores = _scores(plain, CALENDAR_ONLY, december)
    late = np.asarray(december["late"]).astype(int)
    assert roc_auc_score(late, scores) == pytest.approx(0.62, abs=0.015)
    assert scores.mean() == pytest.approx(0.16, abs=0.015)
    assert late.mean() == pytest.approx(0.325, abs=0.005)


def test_version_2_sees_most_of_it_and_not_what_only_a_leak_could_show(
    online: Publication, december: pa.Table
) -> None:
    scores = _scores(online, WITH_ONLINE_FEATURES, december)
    auc = roc_auc_score(np.asarray(december["late"]).astype(int), scores)
    assert 0.69 < auc < 0.75
    assert auc < _same_day_auc(december) - 0.1
    assert scores.mean() == pytest.approx(0.29, abs=0.03)


def _same_day_auc(rows: pa.Table) -> float:
    """What a join by date instead of by instant reaches: the route's late share of the same day,
    in which the flight itself and all that landed after it are counted."""
    late = np.asarray(rows["late"]).astype(int)
    day = pa.array(np.asarray(rows["event_time"].cast(pa.int64())) // DAY_US).cast(pa.string())
    names = [rows[name] for name in ("carrier", "origin", "dest")]
    group = pc.binary_join_element_wise(*names, pa.chunked_array([day]), "|").combine_chunks()
    codes = np.asarray(group.dictionary_encode().indices)
    return float(roc_auc_score(late, (np.bincount(codes, late) / np.bincount(codes))[codes]))


def test_a_join_by_date_would_leak_and_show_it(december: pa.Table) -> None:
    assert _same_day_auc(december) > 0.9


def test_no_training_row_carries_a_label_that_december_had_yet_to_bring() -> None:
    rows = training_rows()
    assert rows["late"].null_count == 0
    assert max(np.asarray(rows["landed_at"].cast(pa.int64()))) < DECEMBER_US
    assert len(rows) > 70_000


def test_held_back_rows_are_whole_days_and_in_no_fit(online: Publication) -> None:
    given = training_set(reference_join, WITH_ONLINE_FEATURES)
    days = given.event_us // DAY_US
    assert not set(days[given.held_back]) & set(days[~given.held_back])
    assert len(online.sample["carrier"]) == (~given.held_back).sum()
    assert online.training.metrics_rows == given.held_back.sum()


def test_the_data_set_is_named_by_its_content() -> None:
    def changed(rows: pa.Table, service: str) -> pa.Table:
        table = reference_join(rows, service)
        hour = np.asarray(table[CALENDAR[0]]).copy()
        hour[0] += 1
        return table.set_column(table.column_names.index(CALENDAR[0]), CALENDAR[0], pa.array(hour))

    once, again = (training_set(reference_join, CALENDAR_ONLY).digest for _ in range(2))
    assert once == again
    assert training_set(changed, CALENDAR_ONLY).digest != once


def test_both_versions_can_be_published(online: Publication) -> None:
    bundle = build(online)
    assert bundle.manifest.unit_key == ("tailnum",)
    assert bundle.manifest.tensors.layout == "columns"
    assert set(bundle.manifest.entity_keys) == {"carrier", "origin", "dest", "tailnum"}
    assert bundle.manifest.training is not None
    assert bundle.manifest.training.metrics["auc"] > 0.65
