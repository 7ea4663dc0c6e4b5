"""A small classification task with numbers, nulls and a text column, made from a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.manifest import InputColumn, TrainingMetadata
from leadline.publish.rows import Rows, matrix, take

COLOURS = ("blue", "red", "white")

INPUTS = (
    InputColumn(name="length", dtype="float32", source="flower:length"),
    InputColumn(name="width", dtype="float32", source="flower:width"),
    InputColumn(name="petals", dtype="float32", source="flower:petals"),
    InputColumn(name="colour", dtype="string", source="request:colour"),
)
NUMBERS = INPUTS[:3]
TRAINING = TrainingMetadata(
    dataset_name="flowers",
    dataset_version="1",
    dataset_digest="0" * 64,
    hyperparameters={},
    metrics={"auc": 0.9},
    metrics_rows=500,
    trained_at="2013-12-01T00:00:00Z",
    git_commit="0" * 40,
)


@dataclass(frozen=True, slots=True)
class Flowers:
    """Rows and their labels; ``train`` and ``held_back`` split them."""

    rows: Rows
    labels: npt.NDArray[np.int64]

    def matrix(self, *, text: bool = True) -> npt.NDArray[np.float32]:
        """[n, inputs], the colour as its code."""
        inputs = INPUTS if text else NUMBERS
        names = [column.name for column in inputs]
        return matrix(self.rows, names, {"colour": COLOURS} if text else {})

    def train(self) -> "Flowers":
        return self._part(slice(0, 1500))

    def held_back(self) -> "Flowers":
        return self._part(slice(1500, None))

    def _part(self, part: slice) -> "Flowers":
        return Flowers(take(self.rows, part), self.labels[part])


def flowers(*, nulls: bool = True, seed: int = 1) -> Flowers:
    """2,000 flowers."""
    random = np.random.default_rng(seed)
    length = random.normal(5, 2, 2000).astype(np.float32)
    width = random.gamma(2, 2, 2000).astype(np.float32)
    petals = random.integers(3, 9, 2000).astype(np.float32)
    colour = random.choice(np.array(COLOURS, dtype=object), 2000)
    logit = length - width + (colour == "red") * 2 - 2 * (petals == 4)
    labels = (random.random(2000) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    if nulls:
        width[random.random(2000) < 0.1] = np.nan
    rows: dict[str, npt.NDArray[Any]] = {
        "length": length,
        "width": width,
        "petals": petals,
        "colour": colour,
    }
    return Flowers(rows, labels)
