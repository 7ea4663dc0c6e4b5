from dataclasses import replace
from typing import Any

import lightgbm
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from leadline.publish.convert import original_of
from leadline.publish.edges import NULL_ROWS
from leadline.publish.graph import Runner, serialized
from leadline.publish.original import PublishError, Task
from leadline.publish.parity import ParityReport, compare, refuse_unless_it_holds
from tests.leadline.publish.flowers import COLOURS, INPUTS, NUMBERS, flowers

NUMERIC = Task("classification", NUMBERS, {})
NEVER_NULL = [
    column.model_copy(update={"on_missing": "default", "default": 0.0}) for column in NUMBERS
]
FILLED = Task("classification", NEVER_NULL, {})
BY_COLUMN = Task("classification", INPUTS, {})


def _report(model: Any, task: Task, *, nulls: bool = True) -> ParityReport:
    original = original_of(model, task)
    runner = Runner(serialized(original.graph), task.inputs, original.layout)
    rows = flowers(nulls=nulls).held_back().rows
    return compare(original, runner.score, rows, task.inputs, tolerance=1e-5, threshold=0.5)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(20, max_depth=6, random_state=1),
        GradientBoostingClassifier(n_estimators=20, random_state=1),
        HistGradientBoostingClassifier(max_iter=20, random_state=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_trees_export_exactly_at_their_thresholds(model: Any) -> None:
    seen = flowers(nulls=False).train()
    model.fit(seen.matrix(text=False), seen.labels)
    report = _report(model, FILLED, nulls=False)
    assert report.kinds["threshold"].rows > 50
    assert report.holds, report.worst[0]


def test_a_pipeline_that_encodes_text_takes_the_text_itself_when_served() -> None:
    seen = flowers(nulls=False).train()
    encode = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
            ("numbers", StandardScaler(), ["length", "width", "petals"]),
        ]
    )
    model = make_pipeline(encode, LogisticRegression())
    model.fit(pd.DataFrame(dict(seen.rows)), seen.labels)
    original = original_of(model, BY_COLUMN)
    report = _report(model, BY_COLUMN, nulls=False)
    assert original.layout == "columns"
    assert report.kinds["unseen_category"].rows == NULL_ROWS
    assert report.holds, report.worst[0]


def test_a_pipeline_that_selects_its_numbers_by_their_type_takes_them_by_name() -> None:
    seen = flowers(nulls=False).train()
    numbers = ("numbers", StandardScaler(), make_column_selector(dtype_include="number"))
    model = make_pipeline(ColumnTransformer([numbers]), LogisticRegression())
    frame = pd.DataFrame(dict(seen.rows))[[column.name for column in NEVER_NULL]]
    model.fit(frame, seen.labels)
    report = _report(model, FILLED, nulls=False)
    assert report.holds, report.worst[0]


def test_a_booster_inside_a_pipeline_is_refused_with_what_to_publish_instead() -> None:
    seen = flowers(nulls=False).train()
    booster = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1)
    for model in (
        make_pipeline(StandardScaler(), booster),
        CalibratedClassifierCV(booster, cv=2),
    ):
        model.fit(seen.matrix(text=False), seen.labels)
        with pytest.raises(PublishError, match="publish the LGBMClassifier itself"):
            original_of(model, FILLED)


def test_a_model_fitted_on_a_frame_is_asked_by_the_names_it_learned() -> None:
    seen = flowers(nulls=False).train()
    frame = pd.DataFrame({column.name: seen.rows[column.name] for column in NUMBERS})
    report = _report(LogisticRegression().fit(frame, seen.labels), NUMERIC, nulls=False)
    assert report.holds, report.worst[0]


def test_text_codes_are_encoded_inside_the_graph() -> None:
    seen = flowers(nulls=False).train()
    model = HistGradientBoostingClassifier(max_iter=20).fit(seen.matrix(), seen.labels)
    task = Task("classification", INPUTS, {"colour": COLOURS})
    original = original_of(model, task)
    assert original.layout == "columns"
    assert _report(model, task).holds


@pytest.mark.parametrize("model", [Ridge(), RandomForestRegressor(10, max_depth=5)])
def test_regressions_export_as_values(model: Any) -> None:
    seen = flowers(nulls=False).train()
    model.fit(seen.matrix(text=False), seen.rows["length"] * 0.1)
    report = _report(model, Task("regression", NEVER_NULL, {}), nulls=False)
    assert report.holds, report.worst[0]


def test_a_model_that_takes_no_null_is_refused_where_null_may_come() -> None:
    seen = flowers(nulls=False).train()
    model = LogisticRegression().fit(seen.matrix(text=False), seen.labels)
    report = _report(model, NUMERIC, nulls=False)
    assert report.null_refused == ("null",)
    with pytest.raises(PublishError, match='on_missing="default"'):
        refuse_unless_it_holds(report)


def test_the_same_model_is_taken_when_no_null_can_reach_it() -> None:
    seen = flowers(nulls=False).train()
    model = LogisticRegression().fit(seen.matrix(text=False), seen.labels)
    report = _report(model, FILLED, nulls=False)
    refuse_unless_it_holds(report)
    assert report.null_refused == ()


def test_a_classifier_without_probabilities_is_refused() -> None:
    seen = flowers(nulls=False).train()
    model = LinearSVC().fit(seen.matrix(text=False), seen.labels)
    with pytest.raises(PublishError, match="predict_proba"):
        original_of(model, NUMERIC)


def test_a_null_that_the_converter_loses_is_caught_with_the_cure() -> None:
    # A forest sends a null it never saw to the larger child; ONNX trees send it to the right.
    seen = flowers(nulls=False).train()
    model = RandomForestClassifier(20, max_depth=6, random_state=1)
    model.fit(seen.matrix(text=False), seen.labels)
    with pytest.raises(PublishError, match="how the model treats null"):
        refuse_unless_it_holds(_report(model, NUMERIC, nulls=False))


def test_inputs_in_another_order_than_the_frame_had_are_refused() -> None:
    seen = flowers(nulls=False).train()
    frame = pd.DataFrame({column.name: seen.rows[column.name] for column in NUMBERS})
    model = LogisticRegression().fit(frame, seen.labels)
    with pytest.raises(PublishError, match="its own is length, width, petals"):
        original_of(model, replace(NUMERIC, inputs=NUMBERS[::-1]))
    with pytest.raises(PublishError, match="takes 3 features, but 2 inputs"):
        original_of(model, replace(NUMERIC, inputs=NUMBERS[:2]))


def test_a_pipeline_that_scales_some_columns_by_name_takes_them_by_name() -> None:
    seen = flowers(nulls=False).train()
    frame = pd.DataFrame({column.name: seen.rows[column.name] for column in NUMBERS})
    scale = ColumnTransformer([("scale", StandardScaler(), ["width"])], remainder="passthrough")
    model = make_pipeline(scale, LogisticRegression()).fit(frame, seen.labels)
    assert original_of(model, FILLED).layout == "columns"
    assert _report(model, FILLED, nulls=False).holds


def test_an_encoder_that_fails_on_a_new_text_is_told_what_to_do() -> None:
    seen = flowers(nulls=False).train()
    encode = ColumnTransformer([("text", OneHotEncoder(), ["colour"])], remainder="passthrough")
    model = make_pipeline(encode, RandomForestClassifier(3, random_state=1))
    model.fit(pd.DataFrame(dict(seen.rows)), seen.labels)
    filled = Task("classification", [*NEVER_NULL, INPUTS[3]], {})
    with pytest.raises(PublishError, match='handle_unknown="ignore"'):
        _report(model, filled, nulls=False)


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        (LogisticRegression(), "regression", 'is it task="classification"'),
        (Ridge(), "classification", 'is it task="regression"'),
    ],
)
def test_the_other_task_is_suggested(model: Any, kind: Any, said: str) -> None:
    seen = flowers(nulls=False).train()
    model.fit(seen.matrix(text=False), seen.labels)
    with pytest.raises(PublishError, match=said):
        original_of(model, Task(kind, NEVER_NULL, {}))


@pytest.mark.parametrize("model", [LogisticRegression(), make_pipeline(StandardScaler(), Ridge())])
def test_a_model_that_is_not_fitted_is_told_so(model: Any) -> None:
    with pytest.raises(PublishError, match="not fitted yet"):
        original_of(model, NUMERIC)


@pytest.mark.parametrize("seed", range(3))
def test_a_text_never_seen_that_export_and_original_treat_otherwise_is_caught(seed: int) -> None:
    """A forest sends the null that it becomes to the larger child, its graph to the right one."""
    seen = flowers(nulls=False).train()
    model = RandomForestClassifier(20, max_depth=6, random_state=seed)
    model.fit(seen.matrix(), seen.labels)
    inputs = [*NEVER_NULL, INPUTS[3]]
    with pytest.raises(PublishError, match=r"worst on a unseen_category row.*encodes the text"):
        refuse_unless_it_holds(
            _report(model, Task("classification", inputs, {"colour": COLOURS}), nulls=False)
        )


def test_a_model_with_no_answer_to_a_text_never_seen_is_refused() -> None:
    seen = flowers(nulls=False).train()
    model = LogisticRegression().fit(seen.matrix(), seen.labels)
    task = Task("classification", [*NEVER_NULL, INPUTS[3]], {"colour": COLOURS})
    with pytest.raises(PublishError, match="no answer to a text that it never saw"):
        refuse_unless_it_holds(_report(model, task, nulls=False))


def test_validation_rows_that_the_model_cannot_take_are_told() -> None:
    seen = flowers(nulls=False).train()
    model = LogisticRegression().fit(seen.matrix(text=False), seen.labels)
    with pytest.raises(PublishError, match="no answer to some of the validation rows"):
        _report(model, FILLED, nulls=True)


def test_no_null_is_reported_where_none_can_come() -> None:
    seen = flowers(nulls=False).train()
    model = LogisticRegression().fit(seen.matrix(text=False), seen.labels)
    assert "null" not in _report(model, FILLED, nulls=False).kinds


def test_a_pipeline_of_doubles_answers_in_single_floats() -> None:
    seen = flowers(nulls=False).train()
    inputs = [column.model_copy(update={"dtype": "float64"}) for column in NEVER_NULL]
    names = [column.name for column in inputs]
    model = make_pipeline(
        ColumnTransformer([("numbers", StandardScaler(), names)]), LogisticRegression()
    )
    model.fit(pd.DataFrame(dict(seen.rows))[names].astype("float64"), seen.labels)
    task = Task("classification", inputs, {})
    original = original_of(model, task)
    runner = Runner(serialized(original.graph), inputs, original.layout)
    rows = {
        name: values.astype("float64")
        for name, values in flowers(nulls=False).held_back().rows.items()
        if name in names
    }
    report = compare(original, runner.score, rows, inputs, tolerance=1e-6, threshold=0.5)
    assert report.holds, report.worst[0]


@pytest.mark.parametrize("asked", ["values", "classes"])
def test_a_model_of_several_answers_is_refused(asked: str) -> None:
    seen = flowers(nulls=False).train()
    twice = pd.DataFrame({"one": seen.labels, "other": 1 - seen.labels}).to_numpy()
    model = Ridge() if asked == "values" else RandomForestClassifier(3)
    model.fit(seen.matrix(text=False), twice)
    with pytest.raises(PublishError):
        _report(model, Task("regression", NEVER_NULL, {}) if asked == "values" else FILLED)


def test_categorical_splits_of_a_histogram_booster_are_refused_with_the_cure() -> None:
    seen = flowers().train()
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[3])
    model.fit(seen.matrix(), seen.labels)
    with pytest.raises(PublishError, match="fit without categorical_features"):
        original_of(model, Task("classification", INPUTS, {"colour": COLOURS}))


def test_what_a_converter_does_not_know_is_told_in_a_sentence() -> None:
    seen = flowers(nulls=False).train()
    model = CalibratedClassifierCV(LogisticRegression(), method="temperature", cv=2)
    model.fit(seen.matrix(text=False), seen.labels)
    with pytest.raises(PublishError, match=r"skl2onnx cannot convert this model: .+"):
        original_of(model, FILLED)
