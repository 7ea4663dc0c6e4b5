"""Does the export answer as the original? Asked on real rows and at the edges, kept as a report."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from contracts.manifest import InputColumn
from leadline.publish.edges import EdgeCase, edge_cases
from leadline.publish.original import NullRefusedError, Original, PublishError, first_line
from leadline.publish.rows import Floats, Rows, Scores, length, take

REAL_ROWS_MAX = 20_000
WORST = 10
_UNSEEN = "unseen_category"
_OF_NULLS = frozenset({"null", _UNSEEN})
_CURES = {
    "null": " The converter does not carry over how the model treats null: give the inputs "
    'on_missing="default" (with a default) or "fail".',
    _UNSEEN: " With categories such a text becomes a null: publish a pipeline that encodes the "
    'text itself, by OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1) or '
    'OneHotEncoder(handle_unknown="ignore").',
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KindReport(_Frozen):
    """The rows of one kind."""

    rows: int
    max_abs_difference: float
    decision_flips: int


class WorstRow(_Frozen):
    """A row where the two differ most; null is NaN."""

    kind: str
    inputs: dict[str, float | int | bool | str | None]
    original: float
    exported: float


class ParityReport(_Frozen):
    """``parity.json``."""

    schema_version: int = 1
    framework: str
    tolerance: float
    threshold: float | None
    max_abs_difference: float
    decision_flips: int
    kinds: dict[str, KindReport]
    worst: tuple[WorstRow, ...]
    null_refused: tuple[str, ...] = ()
    """Kinds of edge rows that the original itself does not take."""

    @property
    def holds(self) -> bool:
        """Within tolerance everywhere. A flip within tolerance is reported, not refused: it is a
        score at the threshold."""
        return self.max_abs_difference <= self.tolerance


def compare(
    original: Original,
    exported: Callable[[Rows], Scores],
    rows: Rows,
    inputs: Sequence[InputColumn],
    *,
    tolerance: float,
    threshold: float | None,
    served: Callable[[Scores], Floats] = lambda scores: scores[:, -1],
    seed: int = 0,
) -> ParityReport:
    """Score real rows (at most ``REAL_ROWS_MAX``, drawn) and edge rows with both.

    The difference is of probabilities or values, the largest over a row's outputs. What is held
    against the threshold is ``served``: the score after calibration and clipping.
    """
    random = np.random.default_rng(seed)
    drawn = random.permutation(length(rows))[:REAL_ROWS_MAX]
    cases = [EdgeCase("real", take(rows, drawn))]
    cases += edge_cases(cases[0].rows, inputs, original.thresholds, seed)
    measured: dict[str, list[tuple[Floats, int]]] = {}
    worst: list[WorstRow] = []
    refused = set()
    for case in cases:
        truth = _asked(original, case)
        if truth is None:
            refused.add(case.kind)
            continue
        answer = exported(case.rows)
        difference = _difference(truth, answer)
        measured.setdefault(case.kind, []).append(
            (difference, flips(truth, answer, threshold, served))
        )
        worst += _worst(case, truth, answer, difference)
    worst.sort(key=lambda row: -_gap(row))
    kinds = {kind: _summed(parts) for kind, parts in measured.items()}
    return ParityReport(
        framework=original.framework,
        tolerance=tolerance,
        threshold=threshold,
        max_abs_difference=max(kind.max_abs_difference for kind in kinds.values()),
        decision_flips=sum(kind.decision_flips for kind in kinds.values()),
        kinds=kinds,
        worst=tuple(worst[:WORST]),
        null_refused=tuple(sorted(refused)),
    )


def _asked(original: Original, case: EdgeCase) -> Scores | None:
    """The original's answers, or None where it takes no null. Raises ``PublishError``."""
    try:
        truth = original.score(case.rows)
    except PublishError:
        raise
    except NullRefusedError:
        truth = None
    except Exception as failed:  # the model is its author's code and may raise anything
        raise PublishError(
            f"The original model fails on a {case.kind} row: {first_line(failed)}"
        ) from failed
    finite = truth is not None and bool(np.isfinite(truth).all())
    if case.kind == "real" and not finite:
        raise PublishError(
            "The model has no answer to some of the validation rows: do they hold nulls, and was "
            "it fitted without any?"
        )
    return truth if finite or case.kind not in _OF_NULLS else None


def _summed(parts: Sequence[tuple[Floats, int]]) -> KindReport:
    return KindReport(
        rows=sum(len(difference) for difference, _ in parts),
        max_abs_difference=max(float(difference.max()) for difference, _ in parts),
        decision_flips=sum(flips for _, flips in parts),
    )


def refuse_unless_it_holds(report: ParityReport) -> None:
    """Raises ``PublishError`` with the worst row when the export answers differently, and when
    serving could hand the model nulls that it never took."""
    if "null" in report.null_refused:
        raise PublishError(
            "The original model does not take null, but some of its inputs may be null when "
            'served: give those inputs on_missing="default" (with a default) or "fail".'
        )
    if _UNSEEN in report.null_refused:
        raise PublishError(
            f"The original model has no answer to a text that it never saw.{_CURES[_UNSEEN]}"
        )
    if not report.holds:
        row = report.worst[0]
        cure = _CURES.get(row.kind, "")
        raise PublishError(
            f"The export differs from the original by {report.max_abs_difference:.3g} "
            f"(tolerance {report.tolerance:g}); worst on a {row.kind} row: original "
            f"{row.original:.6g}, export {row.exported:.6g}, inputs {row.inputs}.{cure}"
        )


def _difference(truth: Scores, answer: Scores) -> Floats:
    """[n]; infinite where only one of the two is a finite number."""
    both = np.isfinite(truth) & np.isfinite(answer)
    same = both | (~np.isfinite(truth) & ~np.isfinite(answer))
    gaps = np.where(both, np.abs(np.where(both, truth, 0) - np.where(both, answer, 0)), 0.0)
    widest: Floats = np.where(same, gaps, np.inf).max(axis=1)
    return widest


def flips(
    truth: Scores, answer: Scores, threshold: float | None, served: Callable[[Scores], Floats]
) -> int:
    """Rows whose decision differs: by threshold on the score, else by the largest output."""
    if threshold is not None:
        return int(((served(truth) >= threshold) != (served(answer) >= threshold)).sum())
    if truth.shape[1] > 1:
        return int((truth.argmax(axis=1) != answer.argmax(axis=1)).sum())
    return 0


def _worst(case: EdgeCase, truth: Scores, answer: Scores, difference: Floats) -> Iterator[WorstRow]:
    for index in np.argsort(-difference, kind="stable")[:WORST]:
        output = int(np.abs(np.nan_to_num(truth[index] - answer[index], nan=np.inf)).argmax())
        yield WorstRow(
            kind=case.kind,
            inputs={name: plain(values[index]) for name, values in case.rows.items()},
            original=float(truth[index, output]),
            exported=float(answer[index, output]),
        )


def _gap(row: WorstRow) -> float:
    gap = abs(row.original - row.exported)
    return gap if np.isfinite(gap) else np.inf


def plain(value: Any) -> float | int | bool | str | None:
    """A numpy scalar or text as JSON has it; NaN is None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    assert value is None or isinstance(value, float | int | bool | str)
    return value
