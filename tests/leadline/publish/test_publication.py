from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import lightgbm
import numpy as np
import pandas as pd
import pytest

from contracts.golden import GoldenSet, GoldenTensor
from contracts.manifest import Calibration, Manifest, PostProcessing, Threshold
from contracts.profile import BaselineProfile, CategoricalProfile, NumericProfile
from inference.domain.post_process import PostProcessor
from leadline.publish import publish
from leadline.publish.bundle import Bundle
from leadline.publish.graph import Runner
from leadline.publish.original import PublishError
from leadline.publish.parity import ParityReport, flips
from leadline.publish.publication import Publication, build
from leadline.publish.rows import Floats, Scores, take
from tests.leadline.publish.flowers import COLOURS, INPUTS, TRAINING, flowers


def _publication() -> Publication:
    seen, unseen = flowers().train(), flowers().held_back()
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1)
    model.fit(seen.matrix(), seen.labels, categorical_feature=[3])
    return Publication(
        name="flower",
        model=model,
        inputs=INPUTS,
        sample=seen.rows,
        validation=unseen.rows,
        labels=unseen.labels,
        training=TRAINING,
        sample_labels=seen.labels,
        post_processing=PostProcessing(threshold=Threshold(value=0.5)),
        categories={"colour": COLOURS},
    )


@pytest.fixture(scope="module")
def publication() -> Publication:
    return _publication()


@pytest.fixture(scope="module")
def bundle(publication: Publication) -> Bundle:
    return build(publication)


def _array(tensor: GoldenTensor) -> "np.ndarray[Any, Any]":
    dtype = object if tensor.dtype == "string" else tensor.dtype
    values = [np.nan if value is None else value for value in tensor.values]
    return np.array(values, dtype=dtype).reshape(tensor.shape)


def test_the_manifest_names_every_file_by_its_content(bundle: Bundle) -> None:
    assert {entry.path for entry in bundle.manifest.files} == set(bundle.files)
    for entry in bundle.manifest.files:
        assert entry.sha256 == sha256(bundle.files[entry.path]).hexdigest()
        assert entry.size_bytes == len(bundle.files[entry.path])


def test_the_same_model_makes_the_same_content(publication: Publication, bundle: Bundle) -> None:
    assert build(publication) == bundle


def test_the_manifest_survives_the_wire(bundle: Bundle) -> None:
    assert Manifest.model_validate_json(bundle.manifest.model_dump_json()) == bundle.manifest


def test_hyperparameters_of_the_model_go_into_lineage(bundle: Bundle) -> None:
    assert bundle.manifest.training is not None
    assert bundle.manifest.training.hyperparameters["n_estimators"] == 20


def test_the_golden_rows_are_answered_alone_and_together(bundle: Bundle) -> None:
    golden = GoldenSet.model_validate_json(bundle.files["golden.json"])
    runner = Runner(bundle.files["model.onnx"], INPUTS, bundle.manifest.tensors.layout)
    feeds = {name: _array(tensor) for name, tensor in golden.inputs.items()}
    expected = _array(golden.outputs["probabilities"])
    assert golden.rows == len(expected) > 48
    for rows in (1, 8, golden.rows):
        for start in range(0, golden.rows, rows):
            part = slice(start, start + rows)
            got = runner.run({name: values[part] for name, values in feeds.items()})
            np.testing.assert_allclose(got, expected[part], atol=golden.tolerance)


def test_the_golden_rows_spread_over_the_scores_and_hold_edges(bundle: Bundle) -> None:
    golden = GoldenSet.model_validate_json(bundle.files["golden.json"])
    scores = _array(golden.outputs["probabilities"])[:, -1]
    assert np.ptp(scores) > 0.8
    assert np.isnan(_array(golden.inputs["width"])).any()
    assert "never seen in training" in golden.inputs["colour"].values


def test_the_baseline_describes_every_input_and_the_held_back_quality(bundle: Bundle) -> None:
    profile = BaselineProfile.model_validate_json(bundle.files["baseline.json"])
    assert set(profile.columns) == {column.name for column in INPUTS}
    assert isinstance(profile.columns["length"], NumericProfile)
    assert isinstance(profile.columns["colour"], CategoricalProfile)
    assert profile.quality is not None
    assert profile.quality.rows == 500
    assert profile.quality.auc is not None
    assert profile.quality.auc > 0.8


def test_the_parity_report_is_published_with_its_kinds(bundle: Bundle) -> None:
    report = ParityReport.model_validate_json(bundle.files["parity.json"])
    assert report.holds
    assert report.kinds["real"].rows == 500
    assert report.threshold == 0.5


def test_an_input_in_the_place_of_another_is_found_beside_one_that_was_renamed(
    publication: Publication,
) -> None:
    seen = flowers().train()
    names = ["length", "width", "petals", "shade"]
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(pd.DataFrame(seen.matrix(), columns=names), seen.labels)
    build(replace(publication, model=model))
    swapped = (INPUTS[1], INPUTS[0], *INPUTS[2:])
    with pytest.raises(PublishError, match="its own is length, width, petals, shade"):
        build(replace(publication, model=model, inputs=swapped))


def test_without_a_platform_nothing_is_converted(publication: Publication, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="No platform has been started"):
        publish(replace(publication, model=None), state=tmp_path)


def test_a_model_that_answers_otherwise_than_its_export_is_refused(
    publication: Publication,
) -> None:
    with pytest.raises(PublishError, match=r"differs from the original by .* worst on a"):
        build(replace(publication, tolerance=1e-12))


def test_post_processing_that_a_task_cannot_do_is_refused(publication: Publication) -> None:
    many = [index % 3 for index in range(500)]
    with pytest.raises(PublishError, match="of two classes"):
        build(replace(publication, labels=many))
    labels = PostProcessing(labels=("a", "b", "c"), threshold=Threshold(value=0.5))
    with pytest.raises(PublishError, match="3 names are given in labels, for 2 classes"):
        build(replace(publication, post_processing=labels))


def test_labels_that_are_not_one_a_row_are_refused(publication: Publication) -> None:
    with pytest.raises(PublishError, match=r"500 validation rows have labels of the shape \(3,\)"):
        build(replace(publication, labels=[0, 1, 0]))


def test_a_column_that_the_sample_lacks_is_named(publication: Publication) -> None:
    partial = {name: values for name, values in flowers().rows.items() if name != "width"}
    with pytest.raises(PublishError, match="sample: there is no column width"):
        build(replace(publication, sample=partial))


def test_categories_of_a_number_are_refused(publication: Publication) -> None:
    with pytest.raises(PublishError, match="no text input: length"):
        build(replace(publication, categories={"colour": COLOURS, "length": ["1"]}))


def test_a_bundle_is_written_as_files(bundle: Bundle, tmp_path: Any) -> None:
    bundle.write(tmp_path)
    written = Manifest.model_validate_json((tmp_path / "manifest.json").read_bytes())
    assert written == bundle.manifest
    assert (tmp_path / "model.onnx").read_bytes() == bundle.files["model.onnx"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": ["yes"] * 500}, "labels are numbers"),
        ({"labels": np.full(500, np.nan)}, "some are null"),
        ({"labels": np.repeat([1, 2], 250)}, "their labels are 0 to 1, .* but 1, 2 are given"),
        ({"labels": np.zeros((500, 2))}, r"shape \(500, 2\)"),
        ({"post_processing": PostProcessing(labels=("a", "b", "c"))}, "3 names .* for 2 classes"),
        ({"sample": np.zeros((10, 4))}, "sample: an array's columns have no names"),
        ({"validation": take(flowers().rows, slice(0, 0)), "labels": []}, "there are no rows"),
        ({"categories": {}}, "colour is text: give categories"),
        ({"inputs": ("length", "width")}, r"inputs are InputColumn\("),
        ({"name": "My model"}, "a model's name begins with a small letter"),
        ({"name": 5}, "a model's name begins with a small letter"),
        ({"task": "ranking"}, "task: Input should be 'classification'"),
        ({"training": None}, r"training is a TrainingMetadata\("),
        ({"serving": {"cache_ttl_s": 60}}, r"serving is a Serving\("),
        ({"post_processing": {"clip_min": 0}}, r"post_processing is a PostProcessing\("),
        ({"inputs": ()}, "inputs is empty"),
        ({"sample": None}, "sample: there is none"),
        ({"validation": 5}, "validation: these are no rows"),
        ({"sample_labels": [1, 0]}, r"sample_labels: 1500 rows, but the shape is \(2,\)"),
        ({"validation_event_us": ["2013"] * 500}, "validation_event_us: not int µs UTC"),
        ({"post_processing": PostProcessing(labels=("a", "a"))}, "have the same name"),
        ({"model": lightgbm.LGBMClassifier()}, "This LGBMClassifier is not fitted"),
        ({"task": "regression"}, 'is it task="classification"'),
    ],
)
def test_a_mistake_is_told_in_words(
    publication: Publication, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(PublishError, match=said):
        build(replace(publication, **changes))


def test_a_default_that_is_none_is_told_before_anything_is_converted(
    publication: Publication,
) -> None:
    wrong = INPUTS[0].model_copy(update={"on_missing": "default"})
    with pytest.raises(PublishError, match=r"The input length: .* needs a default"):
        build(replace(publication, inputs=(wrong, *INPUTS[1:])))


def test_hyperparameters_of_any_kind_reach_the_manifest_as_json(publication: Publication) -> None:
    given = {"rate": np.float32(0.5), "depths": (1, np.int64(2)), "own": object, "no": np.nan}
    training = TRAINING.model_copy(update={"hyperparameters": given})
    bundle = build(replace(publication, training=training))
    wired = Manifest.model_validate_json(bundle.manifest.model_dump_json()).training
    assert wired is not None
    assert wired.hyperparameters.items() >= {
        "rate": 0.5, "depths": [1, 2], "own": "<class 'object'>", "no": "nan",
    }.items()  # fmt: skip


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e5])
def test_the_unit_of_a_value_makes_its_export_neither_right_nor_wrong(
    publication: Publication, unit: float
) -> None:
    seen, unseen = flowers().train(), flowers().held_back()
    model = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1)
    model.fit(seen.matrix(), (seen.rows["length"] + 30) * unit, categorical_feature=[3])
    values = (unseen.rows["length"] + 30) * unit
    priced = replace(
        publication,
        model=model,
        task="regression",
        labels=values,
        sample_labels=None,
        post_processing=PostProcessing(),
    )
    report = ParityReport.model_validate_json(build(priced).files["parity.json"])
    assert report.max_abs_difference < report.tolerance < 1e-4 * float(np.std(values))


def test_the_baseline_is_of_what_is_served_not_of_raw_scores(publication: Publication) -> None:
    calibration = Calibration(scores=(0.0, 1.0), probabilities=(0.4, 0.7))
    post = PostProcessing(calibration=calibration, clip_max=0.6, threshold=Threshold(value=0.5))
    bundle = build(replace(publication, post_processing=post))
    profile = BaselineProfile.model_validate_json(bundle.files["baseline.json"])
    runner = Runner(bundle.files["model.onnx"], INPUTS, bundle.manifest.tensors.layout)
    raw = runner.score(take(flowers().held_back().rows, slice(None)))
    told = PostProcessor(bundle.manifest).run(raw.astype(np.float32), np.random.default_rng(0))
    assert isinstance(profile.prediction, NumericProfile)
    assert 0.4 <= profile.prediction.minimum < profile.prediction.maximum < 0.6001
    assert profile.prediction.mean == pytest.approx(told.score.mean(), abs=1e-6)
    assert profile.quality is not None
    decided = np.mean((told.score >= 0.5) == (np.asarray(publication.labels) == 1))
    assert profile.quality.accuracy == pytest.approx(decided)


def test_the_baseline_of_many_classes_is_of_what_is_served(publication: Publication) -> None:
    seen, unseen = flowers().train(), flowers().held_back()
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(seen.matrix(), seen.rows["petals"].astype(int) % 3, categorical_feature=[3])
    labels = unseen.rows["petals"].astype(int) % 3
    post = PostProcessing()
    bundle = build(replace(publication, model=model, labels=labels, post_processing=post))
    profile = BaselineProfile.model_validate_json(bundle.files["baseline.json"])
    assert profile.classes == 3
    runner = Runner(bundle.files["model.onnx"], INPUTS, bundle.manifest.tensors.layout)
    raw = runner.score(unseen.rows).astype(np.float32)
    told = PostProcessor(bundle.manifest).run(raw, np.random.default_rng(0))
    for column, values in (
        (profile.prediction, told.score),
        (profile.confidence, told.confidence),
    ):
        assert isinstance(column, NumericProfile)
        assert column.mean == pytest.approx(values.mean(), abs=1e-6)


def test_decisions_that_flip_are_of_what_is_served() -> None:
    def halved(scores: Scores) -> Floats:
        return scores[:, -1] / 2

    truth, answer = np.array([[0.79], [0.9]]), np.array([[0.81], [0.7]])
    assert flips(truth, answer, 0.8, lambda scores: scores[:, -1]) == 2
    assert flips(truth, answer, 0.4, halved) == 2
    assert flips(truth, answer, 0.8, halved) == 0
