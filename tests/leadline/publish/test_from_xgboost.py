from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from leadline.publish.convert import original_of
from leadline.publish.graph import Runner, serialized
from leadline.publish.original import PublishError, Task
from leadline.publish.parity import compare
from tests.leadline.publish.flowers import COLOURS, INPUTS, flowers

xgboost = pytest.importorskip("xgboost", reason="XGBoost is an optional framework")

TASK = Task("classification", INPUTS, {"colour": COLOURS})


def _model(kind: Any, **settings: Any) -> Any:
    seen = flowers().train()
    target = seen.labels if kind is xgboost.XGBClassifier else seen.rows["length"]
    return kind(n_estimators=20, max_depth=4, n_jobs=1, **settings).fit(seen.matrix(), target)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_export_answers_as_xgboost_on_every_kind_of_row(kind: Any) -> None:
    classifies = kind == "classification"
    task = Task(kind, INPUTS, {"colour": COLOURS})
    model = _model(xgboost.XGBClassifier if classifies else xgboost.XGBRegressor)
    original = original_of(model, task)
    runner = Runner(serialized(original.graph), INPUTS, original.layout)
    rows = flowers().held_back().rows
    report = compare(original, runner.score, rows, INPUTS, tolerance=1e-5, threshold=None)
    assert report.kinds["threshold"].rows > 100
    assert report.holds, report.worst[0]


def test_a_regressor_is_refused_as_a_classification() -> None:
    with pytest.raises(PublishError, match='is it task="regression"'):
        original_of(_model(xgboost.XGBRegressor), TASK)


def test_a_bare_booster_is_refused_because_it_does_not_say_what_it_predicts() -> None:
    with pytest.raises(PublishError, match="XGBClassifier"):
        original_of(_model(xgboost.XGBClassifier).get_booster(), TASK)


def test_names_and_their_order_are_asked_and_stay_the_owners() -> None:
    seen = flowers().train()
    names = [column.name for column in INPUTS]
    frame = pd.DataFrame(seen.matrix(), columns=names)
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(frame, seen.labels)
    for _ in range(2):
        original_of(model, TASK)
        assert model.get_booster().feature_names == names
    with pytest.raises(PublishError, match="its own is length, width, petals, colour"):
        original_of(model, replace(TASK, inputs=INPUTS[::-1]))


def test_splits_by_xgboosts_own_categories_are_refused() -> None:
    seen = flowers().train()
    frame = pd.DataFrame(dict(seen.rows)).astype({"colour": "category"})
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, enable_categorical=True)
    with pytest.raises(PublishError, match="fit on codes"):
        original_of(model.fit(frame, seen.labels), TASK)


def test_a_linear_booster_is_refused_in_a_sentence() -> None:
    seen = flowers().train()
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, booster="gblinear")
    with pytest.raises(PublishError, match="onnxmltools cannot convert this model: KeyError"):
        original_of(model.fit(seen.matrix(), seen.labels), TASK)
