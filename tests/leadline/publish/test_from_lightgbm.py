from dataclasses import replace

import lightgbm
import numpy as np
import pandas as pd
import pytest

from contracts.manifest import InputColumn
from leadline.publish.convert import original_of
from leadline.publish.from_lightgbm import convert_lightgbm_model, floor_thresholds
from leadline.publish.graph import Runner, serialized
from leadline.publish.original import PublishError, Task
from leadline.publish.parity import ParityReport, compare
from tests.leadline.publish.flowers import COLOURS, INPUTS, flowers

TASK = Task("classification", INPUTS, {"colour": COLOURS})


@pytest.fixture(scope="module")
def model() -> lightgbm.LGBMClassifier:
    seen = flowers().train()
    made = lightgbm.LGBMClassifier(n_estimators=30, num_leaves=15, verbose=-1, n_jobs=1)
    return made.fit(seen.matrix(), seen.labels, categorical_feature=[3])


def _report(model: lightgbm.LGBMClassifier) -> ParityReport:
    original = convert_lightgbm_model(model, TASK)
    runner = Runner(serialized(original.graph), INPUTS, original.layout)
    rows = flowers().held_back().rows
    return compare(original, runner.score, rows, INPUTS, tolerance=1e-5, threshold=0.5)


def test_the_export_answers_as_lightgbm_on_every_kind_of_row(
    model: lightgbm.LGBMClassifier,
) -> None:
    report = _report(model)
    assert report.holds, report.worst[0]
    assert set(report.kinds) == {
        "real",
        "null",
        "range",
        "threshold",
        "category",
        "unseen_category",
    }
    assert report.kinds["threshold"].rows > 300
    assert report.decision_flips == 0


def test_inputs_in_another_order_than_the_model_was_fitted_on_are_refused() -> None:
    seen = flowers().train()
    names = [column.name for column in INPUTS]
    frame = pd.DataFrame(seen.matrix(), columns=names)
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(frame, seen.labels)
    assert original_of(model, TASK).layout == "columns"
    swapped = (INPUTS[1], INPUTS[0], *INPUTS[2:])
    with pytest.raises(PublishError, match="its own is length, width, petals, colour"):
        original_of(model, replace(TASK, inputs=swapped))


def test_categories_in_another_order_than_the_model_remembers_are_refused() -> None:
    seen = flowers().train()
    frame = pd.DataFrame(dict(seen.rows)).astype({"colour": "category"})
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(frame, seen.labels)
    own = tuple(frame["colour"].cat.categories)
    assert original_of(model, replace(TASK, categories={"colour": own})).layout == "columns"
    with pytest.raises(PublishError, match="in another order, than those given: blue, red, white"):
        original_of(model, replace(TASK, categories={"colour": own[::-1]}))


def test_thresholds_rounded_to_nearest_send_rows_at_the_split_the_other_way() -> None:
    # What the flooring is for: the split of 0.1f and its neighbour lies between two float32
    # values, and to the nearest it is rounded up to the value that belongs to the right.
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    x = np.repeat([low, high], 50).reshape(-1, 1)
    y = np.repeat([0.0, 1.0], 50)
    booster = lightgbm.train(
        {"objective": "regression", "min_data_in_leaf": 1, "verbose": -1, "min_data_in_bin": 1},
        lightgbm.Dataset(x.astype(np.float64), y),
        num_boost_round=1,
    )
    column = (InputColumn(name="x", dtype="float32", source="view:x"),)
    original = convert_lightgbm_model(booster, Task("regression", column, {}))
    answers = Runner(serialized(original.graph), column, "matrix").score({"x": x.ravel()})
    np.testing.assert_allclose(answers, original.score({"x": x.ravel()}), atol=1e-6)
    assert np.ptp(answers) > 0.01


def test_flooring_changes_no_answer_for_single_precision_inputs(
    model: lightgbm.LGBMClassifier,
) -> None:
    floored = lightgbm.Booster(model_str=floor_thresholds(model.booster_.model_to_string()))
    rows = flowers().held_back().matrix()
    assert (floored.predict(rows) == model.booster_.predict(rows)).all()


def test_a_model_of_another_width_is_refused_with_both_numbers(
    model: lightgbm.LGBMClassifier,
) -> None:
    with pytest.raises(PublishError, match="takes 4 features, but 3 inputs"):
        convert_lightgbm_model(model, Task("classification", INPUTS[:3], {}))


def test_what_is_no_model_is_refused_with_the_list_of_what_is() -> None:
    with pytest.raises(PublishError, match=r"scikit-learn estimator, LightGBM or XGBoost"):
        original_of({"a": 1}, TASK)


@pytest.mark.parametrize("objective", ["multiclass", "regression", "poisson"])
def test_other_objectives_export_too(objective: str) -> None:
    seen = flowers().train()
    settings = {"n_estimators": 10, "verbose": -1, "n_jobs": 1, "objective": objective}
    if objective == "multiclass":
        made = lightgbm.LGBMClassifier(**settings)
        made.fit(seen.matrix(), seen.rows["petals"].astype(int) % 3)
    else:
        made = lightgbm.LGBMRegressor(**settings)
        made.fit(seen.matrix(), np.abs(seen.rows["length"]))
    task = TASK if objective == "multiclass" else Task("regression", INPUTS, TASK.categories)
    original = original_of(made, task)
    runner = Runner(serialized(original.graph), INPUTS, original.layout)
    report = compare(
        original, runner.score, flowers().held_back().rows, INPUTS, tolerance=1e-4, threshold=None
    )
    assert report.holds, report.worst[0]


def test_an_objective_that_the_converter_does_not_know_is_named() -> None:
    seen = flowers().train()
    made = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1, objective="mape")
    made.fit(seen.matrix(), seen.rows["length"])
    with pytest.raises(PublishError, match=r"onnxmltools cannot convert this model: .*mape"):
        original_of(made, Task("regression", INPUTS, TASK.categories))
