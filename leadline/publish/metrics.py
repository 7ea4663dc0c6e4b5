"""The figure by which a loss of precision is judged."""

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error

from leadline.publish.quantize import Metric
from leadline.publish.rows import Floats, Scores


def metric_of(task: str, labels: Floats, classes: int = 2) -> Metric:
    """AUC for two classes, accuracy for more, root mean squared error for values."""
    if task == "regression":
        return Metric("rmse", _rmse, higher_is_better=False)
    if classes <= 2 and set(np.unique(labels).tolist()) <= {0.0, 1.0}:
        return Metric("auc", _auc, higher_is_better=True)
    return Metric("accuracy", _accuracy, higher_is_better=True)


def _auc(scores: Scores, labels: Floats) -> float:
    """NaN where the labels are all of one class."""
    if np.unique(labels).size < 2:
        return float("nan")
    return float(roc_auc_score(labels, scores[:, -1]))


def _accuracy(scores: Scores, labels: Floats) -> float:
    return float(accuracy_score(labels, scores.argmax(axis=1)))


def _rmse(scores: Scores, labels: Floats) -> float:
    return float(root_mean_squared_error(labels, scores[:, 0]))
