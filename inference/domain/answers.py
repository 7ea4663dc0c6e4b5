"""Writes the answers of ``POST /predict``: numbers of a whole batch are formatted in one call,
rows are glued from prepared pieces (1 µs a row; a ``dumps`` of dicts a row costs 4)."""

from binascii import hexlify
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from contracts.manifest import Manifest
from contracts.problems import ProblemCode
from contracts.served import OUTCOMES, Bytes
from inference.domain.instances import FieldError
from inference.domain.post_process import Verdicts

ROW_PROBLEMS: dict[str, ProblemCode] = {
    "invalid_input": ProblemCode.INVALID_INPUT,
    "feature_missing": ProblemCode.FEATURE_MISSING,
    "model_error": ProblemCode.INVALID_INPUT,
    "nan_answer": ProblemCode.INVALID_INPUT,
    "deadline": ProblemCode.DEADLINE_EXCEEDED,
    "dependency": ProblemCode.DEPENDENCY_UNAVAILABLE,
}
"""The problem that a row's outcome is answered with."""
ROW_DETAILS: dict[str, str] = {
    "invalid_input": "The row does not fit what the model takes.",
    "feature_missing": "A feature that this model requires has no value for this entity.",
    "model_error": "The model cannot compute this row.",
    "nan_answer": "The model's answer for this row is not a finite number.",
    "deadline": "The deadline passed before the row was computed.",
    "dependency": "A feature that this model requires cannot be looked up now.",
}
_ERRORS = tuple(
    orjson.dumps(
        {"error": {"code": ROW_PROBLEMS[name].value, "detail": ROW_DETAILS[name]}}
        if name in ROW_PROBLEMS
        else {}
    )
    for name in OUTCOMES
)


_NAMED_MAX = 5


def invalid_row(errors: Sequence[FieldError]) -> bytes:
    """What stands in the place of a row that does not fit."""
    told = {
        "code": ProblemCode.INVALID_INPUT.value,
        "detail": ROW_DETAILS["invalid_input"],
        "errors": [error.as_json() for error in errors],
    }
    return orjson.dumps({"error": told})


def lacking_detail(name: str, inputs: Sequence[str]) -> str:
    """What a row that may not be computed is told: which of the required inputs it lacks."""
    if not inputs:
        return ROW_DETAILS[name]
    more = ", …" if len(inputs) > _NAMED_MAX else ""
    return f"{ROW_DETAILS[name]} Without one: {', '.join(inputs[:_NAMED_MAX])}{more}."


def lacking_row(name: str, inputs: Sequence[str]) -> bytes:
    """What stands in the place of such a row."""
    told = {"code": ROW_PROBLEMS[name].value, "detail": lacking_detail(name, inputs)}
    return orjson.dumps({"error": told})


class AnswerWriter:
    """The prepared pieces of one version answering as one variant."""

    def __init__(self, manifest: Manifest, version: str, variant: str) -> None:
        head = {"model": manifest.model, "version": version, "variant": variant}
        self.head = b'","' + orjson.dumps(head)[2:-1] + b',"predictions":['
        self.arm = orjson.dumps({"version": version, "variant": variant})[1:-1]
        post = manifest.post_processing
        self._classification = manifest.task == "classification"
        self._labels = post.labels
        self._before = [
            b'{"prediction":' + orjson.dumps(self._label(index)) + b',"probability":'
            for index in range(max(2, len(post.labels)))
        ]
        self._after = [b"}"]
        if post.threshold is not None:
            names = (post.threshold.below, post.threshold.at_or_above)
            self._after = [b',"decision":' + orjson.dumps(name) + b"}" for name in names]

    def _label(self, index: int) -> str | int:
        return self._labels[index] if index < len(self._labels) else index

    def rows(self, verdicts: Verdicts, outcome: Bytes) -> list[bytes]:
        """The JSON of each row: its prediction, or its error where ``outcome`` is not 0."""
        if verdicts.probabilities is not None:
            pieces = self._many(verdicts)
        else:
            numbers = orjson.dumps(verdicts.score, option=orjson.OPT_SERIALIZE_NUMPY)
            texts = numbers[1:-1].split(b",")
            if not self._classification:
                pieces = [b'{"prediction":%b,"value":%b}' % (text, text) for text in texts]
            else:
                pieces = self._binary(verdicts, texts)
        if np.count_nonzero(outcome):
            for index in np.flatnonzero(outcome):
                pieces[index] = _ERRORS[outcome[index]]
        return pieces

    def _binary(self, verdicts: Verdicts, texts: list[bytes]) -> list[bytes]:
        before, after = self._before, self._after
        classes = verdicts.predicted.tolist()
        if verdicts.decided is None:
            return [before[c] + text + b"}" for c, text in zip(classes, texts, strict=True)]
        decisions = verdicts.decided.tolist()
        return [
            before[c] + text + after[d]
            for c, text, d in zip(classes, texts, decisions, strict=True)
        ]

    def _many(self, verdicts: Verdicts) -> list[bytes]:
        assert verdicts.probabilities is not None
        rows = zip(
            verdicts.predicted.tolist(),
            verdicts.confidence.tolist(),
            verdicts.probabilities.tolist(),
            strict=True,
        )
        return [
            orjson.dumps(
                {"prediction": self._label(best), "probability": sure, "probabilities": each}
            )
            for best, sure, each in rows
        ]

    def whole(self, request_id: bytes, rows: bytes, tail: bytes) -> bytes:
        """The body of a request whose rows, parted by commas, this version answered alone."""
        return b'{"request_id":"%b%b%b]%b' % (hexlify(request_id), self.head, rows, tail)


def mixed_body(
    model: str, request_id: bytes, rows: Sequence[tuple[bytes, AnswerWriter]], tail: bytes
) -> bytes:
    """The body of a request whose rows came from several groups.

    Where they are of several versions, each row names its own, and the request none.
    """
    if len({id(writer) for _, writer in rows}) == 1:
        return rows[0][1].whole(request_id, b",".join([piece for piece, _ in rows]), tail)
    inner = b",".join([row[:-1] + b"," + writer.arm + b"}" for row, writer in rows])
    head = {"request_id": request_id.hex(), "model": model, "version": None, "variant": None}
    return orjson.dumps(head)[:-1] + b',"predictions":[' + inner + b"]" + tail


def tail_of(cache: str, degraded: list[dict[str, Any]], features: list[Any] | None) -> bytes:
    """What follows the predictions."""
    extra: dict[str, Any] = {}
    if features is not None:
        extra["features"] = features
    if degraded:
        extra["degraded"] = degraded
    extra["cache"] = cache
    return b"," + orjson.dumps(extra, option=orjson.OPT_SERIALIZE_NUMPY)[1:]


TAILS = {cache: tail_of(cache, [], None) for cache in ("hit", "miss", "off")}
"""The usual case: nothing degraded, nothing explained."""
