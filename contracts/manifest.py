"""The manifest: everything a model version is, beside the weights."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

NAME = r"^[a-z][a-z0-9_]{0,62}$"
NAME_RULE = "a model's name begins with a small letter; a-z, 0-9 and _ follow, 62 at most"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Dtype = Literal["float32", "float64", "int64", "int32", "bool", "string"]
"""What a model input column may be."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One artifact, addressed by its content."""

    path: str
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class InputColumn(_Frozen):
    """One model input column, in the order the model takes them.

    ``source`` is the ref it is filled from: ``view:feature`` (online), ``on_demand:output``
    (computed at request time) or ``request:field`` (taken from the instance as it is).
    """

    name: str
    dtype: Dtype
    source: str
    on_missing: Literal["default", "null", "fail"] = "null"
    """What to do when the store has no usable value: substitute, pass null (NaN), or refuse."""
    default: float | int | str | bool | None = None


class Threshold(_Frozen):
    """A decision threshold on the probability of the positive class."""

    value: float = Field(ge=0, le=1)
    below: str = "negative"
    at_or_above: str = "positive"


class Calibration(_Frozen):
    """A monotone map from raw score to probability: linear interpolation between the knots."""

    scores: tuple[float, ...] = Field(min_length=2)
    probabilities: tuple[float, ...]

    @model_validator(mode="after")
    def _is_a_map(self) -> Self:
        if len(self.scores) != len(self.probabilities):
            raise ValueError("a calibration has as many probabilities as scores")
        if any(one >= other for one, other in pairwise(self.scores)):
            raise ValueError("the scores of a calibration increase")
        if any(not 0.0 <= one <= 1.0 for one in self.probabilities):
            raise ValueError("the probabilities of a calibration lie in 0..1")
        return self


class PostProcessing(_Frozen):
    """What happens to a model's raw output; it belongs to the version, so it is canaried too."""

    calibration: Calibration | None = None
    threshold: Threshold | None = None
    labels: tuple[str, ...] = ()
    clip_min: float | None = None
    clip_max: float | None = None
    exploration_epsilon: float = Field(default=0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        low, high = self.clip_min, self.clip_max
        if low is not None and high is not None and low > high:
            raise ValueError("clip_min is not above clip_max")
        if self.exploration_epsilon and self.threshold is None:
            raise ValueError("exploration needs a threshold: it is of decisions")
        return self

    def of_one_score(self) -> bool:
        """Whether it does what only a single score, of two classes, allows."""
        clipped = self.clip_min is not None or self.clip_max is not None
        return clipped or self.calibration is not None or self.threshold is not None


class Tensors(_Frozen):
    """How the ONNX graph takes its inputs and names its outputs.

    ``matrix``: all columns stacked as one float32 tensor [rows, columns] named ``input``.
    ``columns``: one tensor [rows, 1] a column, named as the column.
    ``raw``: no feature service; the Open Inference Protocol only.
    """

    layout: Literal["matrix", "columns", "raw"]
    input: str = "input"
    probability: str | None = None
    """Output with probabilities [rows, classes] (the last class is the positive one)."""
    value: str | None = None
    """Output with the regression value [rows] or [rows, 1]."""


class TrainingMetadata(_Frozen):
    """Required for lineage; publishing without it is refused with the list of what is missing."""

    dataset_name: str
    dataset_version: str
    dataset_digest: Sha256
    hyperparameters: dict[str, Any]
    metrics: dict[str, float]
    metrics_rows: int = Field(gt=0)
    trained_at: str
    git_commit: str


class Manifest(_Frozen):
    """A model version, complete. The registry stores it; inference serves by it."""

    schema_version: Literal[1] = 1
    model: Name
    task: Literal["classification", "regression", "raw"]
    feature_service: str | None = None
    feature_service_json: dict[str, Any] | None = None
    """Canonical JSON of the compiled service (``shared_features``)."""
    feature_fingerprint: Sha256 | None = None
    entity_keys: tuple[str, ...] = ()
    request_fields: dict[str, str] = Field(default_factory=dict)
    """Name -> dtype of what an instance must bring beside its entity keys."""
    inputs: tuple[InputColumn, ...] = ()
    unit_key: tuple[str, ...] = ()
    """The instance fields that make the unit of assignment; empty: the whole entity key."""
    tensors: Tensors
    post_processing: PostProcessing = PostProcessing()
    cache_ttl_s: float = Field(default=0.0, ge=0)
    rows_per_batch_max: int = Field(default=128, ge=1, le=10_000)
    precision: Literal["float32", "int8"] = "float32"
    files: tuple[FileEntry, ...] = ()
    """``model.onnx`` and, by name, ``baseline.json``, ``golden.json``, ``parity.json``."""
    training: TrainingMetadata | None = None

    @model_validator(mode="after")
    def _does_what_it_says(self) -> Self:
        post = self.post_processing
        if self.task == "regression" and (post.calibration or post.threshold or post.labels):
            raise ValueError("a regression has no calibration, threshold or labels")
        if self.task == "classification" and len(post.labels) > 2 and post.of_one_score():
            raise ValueError("more than two classes have no calibration, clipping or threshold")
        return self

    def file(self, path: str) -> FileEntry | None:
        """The entry of that path, or None."""
        return next((entry for entry in self.files if entry.path == path), None)
