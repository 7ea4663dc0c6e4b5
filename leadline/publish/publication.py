"""From a fitted model and what its author says of it to a bundle that can be served and judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx

from contracts.manifest import (
    InputColumn,
    Manifest,
    PostProcessing,
    Tensors,
    TrainingMetadata,
)
from leadline.publish import graph
from leadline.publish.bundle import Bundle, entries
from leadline.publish.convert import original_of
from leadline.publish.described import (
    check_classes,
    check_inputs,
    check_one_a_row,
    described_rows,
    labels_of,
    plain_parameters,
    told_in_words,
)
from leadline.publish.golden import golden_set
from leadline.publish.metrics import metric_of
from leadline.publish.original import Original, PublishError, Task
from leadline.publish.parity import ParityReport, compare, refuse_unless_it_holds
from leadline.publish.quantize import Int8Report, int8_report, not_applicable, quantize
from leadline.publish.rows import Floats, Rows
from leadline.publish.served import as_served
from monitor.domain.baseline import Validation, build_profile

TOLERANCE = 1e-5
"""Largest difference of a probability, or of a value in standard deviations of the labels; single
precision sums of a hundred trees stay 30 times below it."""
SINGLE = 1e-6
"""Added for values, as a share of the largest label: single precision has seven digits, also of
values that lie far from zero."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How instances become inputs: the compiled feature service and what a caller must bring."""

    feature_service: str | None = None
    feature_service_json: dict[str, Any] | None = None
    feature_fingerprint: str | None = None
    entity_keys: tuple[str, ...] = ()
    request_fields: Mapping[str, str] = field(default_factory=dict)
    unit_key: tuple[str, ...] = ()
    cache_ttl_s: float = 0.0
    rows_per_batch_max: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A fitted model and everything its author says of it."""

    name: str
    model: Any
    """scikit-learn estimator, LightGBM or XGBoost model, PyTorch module; fitted."""
    inputs: Sequence[InputColumn]
    """In the order that the model was fitted on."""
    sample: Any
    """Training rows by input name: pandas, polars, Arrow or a mapping of arrays."""
    validation: Any
    """Rows the model was not fitted on, likewise."""
    labels: npt.ArrayLike
    """Of the validation rows: 0/1 or classes' indices, or values."""
    training: TrainingMetadata
    task: Literal["classification", "regression"] = "classification"
    serving: Serving = field(default_factory=Serving)
    post_processing: PostProcessing = field(default_factory=PostProcessing)
    sample_labels: npt.ArrayLike | None = None
    sample_event_us: npt.ArrayLike | None = None
    """When each training row was, int µs UTC; the baseline learns day-to-day variation by it."""
    validation_event_us: npt.ArrayLike | None = None
    """When each validation row was; the baseline learns which weekdays their scores are of."""
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By text input, the values in the order of the codes that the model was fitted on; needed
    where the model takes numbers (LightGBM, XGBoost, PyTorch)."""
    tolerance: float | None = None
    """Largest difference between export and original: of a probability (1e-5 unless given), or of
    a value in its unit (unless given: 1e-5 standard deviations and 1e-6 of the largest label)."""
    precision: Literal["float32", "int8"] = "float32"
    report_int8: bool = False
    """Also say what int8 would bring and cost (``int8.json``); serve float32 all the same."""
    int8_loss_max: float = 0.01
    """int8 that is worse by more than this, in its metric's unit, is refused."""


def build(publication: Publication, say: Callable[[str], None] = lambda _: None) -> Bundle:
    """Convert, verify, profile; ``say`` is told each step that may take long. Raises
    ``PublishError`` when the export is not the original."""
    inputs = publication.inputs
    check_inputs(inputs, publication.categories)
    draft = _draft(publication)
    sample = described_rows("sample", publication.sample, inputs)
    validation = described_rows("validation", publication.validation, inputs)
    labels = labels_of(publication.labels, validation)
    check_one_a_row("sample_labels", publication.sample_labels, sample)
    check_one_a_row("sample_event_us", publication.sample_event_us, sample)
    check_one_a_row("validation_event_us", publication.validation_event_us, validation)
    say("converting to ONNX")
    original = original_of(
        publication.model, Task(publication.task, inputs, publication.categories)
    )
    content = _serialized(original)
    runner = graph.Runner(content, inputs, original.layout)
    check_classes(publication.task, publication.post_processing, labels, runner.width)
    with told_in_words():
        judged = Manifest(**{**dict(draft), "post_processing": publication.post_processing})
    tolerance = _tolerance(publication, labels)
    say("comparing the export with the original")
    report = _verified(judged, original, runner, validation, tolerance)
    files = {"model.onnx": content, "parity.json": report.model_dump_json(indent=1).encode()}
    if publication.precision == "int8" or publication.report_int8:
        say("quantizing and measuring int8")
        files |= _int8(
            publication, judged, original, content, sample, validation, labels, runner.width
        )
        if publication.precision == "int8":
            runner = graph.Runner(files["model.onnx"], inputs, original.layout)
    golden = golden_set(
        original.output,
        original.layout,
        runner.score if publication.precision == "int8" else original.score,
        runner.score,
        validation,
        inputs,
        tolerance=max(1e-4, tolerance),
        input_name=runner.input_name,
    )
    files["golden.json"] = golden.model_dump_json().encode()
    say("profiling the training rows")
    baseline = _baseline(publication, judged, runner, sample, validation, labels)
    files["baseline.json"] = baseline.encode()
    return Bundle(_finished(judged, original, runner, files), files)


def _tolerance(publication: Publication, labels: Floats) -> float:
    if publication.tolerance is not None:
        return publication.tolerance
    if publication.task == "classification":
        return TOLERANCE
    return float(TOLERANCE * labels.std() + SINGLE * np.abs(labels).max()) or TOLERANCE


def _int8(
    publication: Publication,
    judged: Manifest,
    original: Original,
    content: bytes,
    sample: Rows,
    validation: Rows,
    labels: Floats,
    classes: int,
) -> dict[str, bytes]:
    """``int8.json``, and the int8 ``model.onnx`` where it is wanted and good enough."""
    wanted = publication.precision == "int8"
    reason = not_applicable(original)
    if reason is not None and not wanted:
        said = Int8Report(applicable=False, reason=reason)
        return {"int8.json": said.model_dump_json(indent=1).encode()}
    small = quantize(original, content, publication.inputs, sample)
    threshold = judged.post_processing.threshold
    said = int8_report(
        content,
        small,
        publication.inputs,
        original.layout,
        validation,
        labels,
        metric_of(publication.task, labels, classes),
        threshold=None if threshold is None else threshold.value,
        served=lambda scores: as_served(judged, scores).score,
    )
    assert said.metric_loss is not None
    if wanted and not np.isfinite(said.metric_loss):
        raise PublishError(
            f"What int8 costs cannot be told: {said.metric} needs validation rows of both classes."
        )
    if wanted and said.metric_loss > publication.int8_loss_max:
        raise PublishError(
            f"int8 is worse by {said.metric_loss:.4f} in {said.metric} (limit "
            f"{publication.int8_loss_max}); {said.decision_flips} of {said.rows} decisions differ."
        )
    if wanted and not said.batch_invariant:
        raise PublishError("The int8 graph's score of a row depends on the rows beside it.")
    files = {"int8.json": said.model_dump_json(indent=1).encode()}
    return {**files, "model.onnx": small} if wanted else files


def _serialized(original: Original) -> bytes:
    try:
        return graph.serialized(original.graph)
    except onnx.checker.ValidationError as invalid:
        raise PublishError(f"The converter made an invalid graph: {invalid}") from None


def _verified(
    judged: Manifest,
    original: Original,
    runner: graph.Runner,
    rows: Rows,
    tolerance: float,
) -> ParityReport:
    threshold = judged.post_processing.threshold
    report = compare(
        original,
        runner.score,
        rows,
        judged.inputs,
        tolerance=tolerance,
        threshold=None if threshold is None else threshold.value,
        served=lambda scores: as_served(judged, scores).score,
    )
    refuse_unless_it_holds(report)
    return report


def _baseline(
    publication: Publication,
    judged: Manifest,
    runner: graph.Runner,
    sample: Rows,
    validation: Rows,
    labels: Floats,
) -> str:
    """Scores of the validation rows stand for the prediction's distribution: the model was fitted
    on the sample, and would look surer there than it is. How days differ is learned from the
    sample, which has times."""
    held = as_served(judged, runner.score(validation))
    trained = None
    if publication.sample_event_us is not None:  # a calendar's model differs on Sundays: no drift
        trained = as_served(judged, runner.score(sample)).score
    many = held.probabilities
    threshold = publication.post_processing.threshold
    profile = build_profile(
        publication.name,
        publication.task,
        sample,
        event_us=publication.sample_event_us,
        labels=publication.sample_labels,
        predictions=trained if many is None else held.score,
        confidence=None if many is None else held.confidence,
        classes=None if many is None else many.shape[1],
        validation=Validation(
            scores=held.score,
            labels=labels,
            threshold=0.5 if threshold is None else threshold.value,
            event_us=publication.validation_event_us,
        )
        if many is None
        else None,
    )
    return profile.model_dump_json()


def _draft(publication: Publication) -> Manifest:
    """What does not hang on the model, so that what is wrong with it is told before the work."""
    serving, training = publication.serving, publication.training
    if not isinstance(training, TrainingMetadata):
        raise PublishError("training is a TrainingMetadata(dataset_name=…, …): lineage is needed.")
    if not isinstance(serving, Serving):
        raise PublishError("serving is a Serving(request_fields={…}, …).")
    if not isinstance(publication.post_processing, PostProcessing):
        raise PublishError("post_processing is a PostProcessing(threshold=Threshold(value=…), …).")
    with told_in_words():
        return Manifest(
            model=publication.name,
            task=publication.task,
            feature_service=serving.feature_service,
            feature_service_json=serving.feature_service_json,
            feature_fingerprint=serving.feature_fingerprint,
            entity_keys=serving.entity_keys,
            request_fields=dict(serving.request_fields),
            inputs=tuple(publication.inputs),
            unit_key=serving.unit_key,
            tensors=Tensors(layout="columns"),
            cache_ttl_s=serving.cache_ttl_s,
            rows_per_batch_max=serving.rows_per_batch_max,
            precision=publication.precision,
            training=training,
        )


def _finished(
    judged: Manifest, original: Original, runner: graph.Runner, files: dict[str, bytes]
) -> Manifest:
    """The manifest with its graph, its files, and the hyperparameters that the model knows of."""
    assert judged.training is not None
    classification = judged.task == "classification"
    tensors = Tensors(
        layout=original.layout,
        input=runner.input_name if original.layout == "matrix" else "input",
        probability=original.output if classification else None,
        value=None if classification else original.output,
    )
    merged = {**original.hyperparameters, **judged.training.hyperparameters}
    training = judged.training.model_copy(update={"hyperparameters": plain_parameters(merged)})
    return judged.model_copy(
        update={"tensors": tensors, "files": entries(files), "training": training}
    )
