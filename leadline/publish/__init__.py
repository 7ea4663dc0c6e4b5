"""For data scientists: from a fitted model to a published version, in one call.

    from leadline.publish import InputColumn, Publication, TrainingMetadata, publish

    publish(
        Publication(
            name="churn",
            model=fitted,                    # scikit-learn, LightGBM, XGBoost or PyTorch
            inputs=[InputColumn(name="visits", dtype="float32", source="customer:visits_7d"), ...],
            sample=X_train, validation=X_held_back, labels=y_held_back,
            training=TrainingMetadata(...),
        )
    )

A converter per framework (``from_lightgbm``, ``from_sklearn``, ``from_xgboost``, ``from_torch``)
makes the ONNX graph; ``parity`` proves that it answers as the original does; the golden set, the
baseline profile and the manifest go with it; the registry takes it over HTTP.
"""

from pathlib import Path
from typing import Any

from contracts.manifest import (
    Calibration,
    InputColumn,
    PostProcessing,
    Threshold,
    TrainingMetadata,
)
from leadline.client import Client
from leadline.publish.bundle import Bundle
from leadline.publish.original import PublishError
from leadline.publish.publication import Publication, Serving, build
from leadline.state import StateDir

__all__ = [
    "Bundle",
    "Calibration",
    "InputColumn",
    "PostProcessing",
    "Publication",
    "PublishError",
    "Serving",
    "Threshold",
    "TrainingMetadata",
    "build",
    "publish",
]


_SEND_S = 120.0
"""The registry tries the version before it answers."""


def publish(
    publication: Publication, client: Client | None = None, *, state: Path = Path(".leadline")
) -> dict[str, Any]:
    """Convert, verify and send to the registry; returns its ``{"model", "version", ...}``.

    Without ``client``, to the platform that runs in ``state``. Raises ``PublishError`` when the
    export is not the original and ``ProblemError`` when the registry refuses. Publishing the same
    content again answers with the version that exists.
    """
    if client is not None:
        return build(publication).send(client)
    # Opened before the work, which may take minutes: that no platform runs is told at once.
    with Client.from_state(StateDir(state.absolute()), timeout_s=_SEND_S) as opened:
        return build(publication).send(opened)
