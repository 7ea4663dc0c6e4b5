from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from contracts.golden import GoldenSet
from leadline.publish.bundle import Bundle
from leadline.publish.original import PublishError
from leadline.publish.publication import Publication, build
from leadline.publish.quantize import Int8Report
from tests.leadline.publish.flowers import NUMBERS, TRAINING, flowers

NEVER_NULL = [c.model_copy(update={"on_missing": "default", "default": 0.0}) for c in NUMBERS]


def _publication(model: Any, **further: Any) -> Publication:
    seen, unseen = flowers(nulls=False).train(), flowers(nulls=False).held_back()
    return Publication(
        name="flower",
        model=model.fit(seen.matrix(text=False), seen.labels),
        inputs=NEVER_NULL,
        sample=seen.rows,
        validation=unseen.rows,
        labels=unseen.labels,
        training=TRAINING,
        **further,
    )


def _network() -> Any:
    layers = MLPClassifier((64, 64), max_iter=40, random_state=1, early_stopping=True)
    return make_pipeline(StandardScaler(), layers)


@pytest.fixture(scope="module")
def small() -> Bundle:
    return build(_publication(_network(), precision="int8"))


def _report(bundle: Bundle) -> Int8Report:
    return Int8Report.model_validate_json(bundle.files["int8.json"])


def test_int8_is_smaller_and_the_report_says_what_it_costs(small: Bundle) -> None:
    report = _report(small)
    assert report.applicable
    assert report.rows == 500
    assert report.bytes_int8 == len(small.files["model.onnx"]) < report.bytes_float32
    assert report.metric == "auc"
    assert report.metric_loss is not None
    assert report.metric_loss < 0.01
    assert report.max_abs_difference is not None
    assert 0 < report.max_abs_difference < 0.2
    assert set(report.speed_up) == {"1", "32"}


def test_the_int8_graph_holds_int8_weights(small: Bundle) -> None:
    graph = onnx.load_model_from_string(small.files["model.onnx"]).graph
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer)
    assert small.manifest.precision == "int8"


def test_a_row_scores_the_same_alone_and_among_others(small: Bundle) -> None:
    assert _report(small).batch_invariant


def test_the_golden_answers_are_those_that_will_be_served(small: Bundle) -> None:
    golden = GoldenSet.model_validate_json(small.files["golden.json"])
    full = GoldenSet.model_validate_json(build(_publication(_network())).files["golden.json"])
    name = small.manifest.tensors.probability
    assert name is not None
    assert golden.outputs[name].values != full.outputs[name].values


def test_int8_of_trees_is_not_applicable_and_says_so() -> None:
    trees = _publication(lightgbm.LGBMClassifier(n_estimators=5, verbose=-1), report_int8=True)
    report = _report(build(trees))
    assert not report.applicable
    assert "compares and adds" in report.reason
    with pytest.raises(PublishError, match="not applicable: a tree ensemble"):
        build(replace(trees, precision="int8"))


def test_int8_that_loses_more_than_allowed_is_refused_with_the_loss() -> None:
    with pytest.raises(PublishError, match=r"int8 is worse by .* in auc"):
        build(_publication(_network(), precision="int8", int8_loss_max=-1.0))


def test_few_validation_rows_are_enough_for_a_report_but_not_of_one_class() -> None:
    whole = _publication(_network(), precision="int8")
    few = {name: values[:20] for name, values in whole.validation.items()}
    labels = np.tile([0, 1], 10)
    report = _report(build(replace(whole, validation=few, labels=labels, int8_loss_max=1.0)))
    assert (report.rows, report.batch_invariant) == (20, True)
    with pytest.raises(PublishError, match="needs validation rows of both classes"):
        build(replace(whole, validation=few, labels=labels * 0))
