"""Predictions with what became of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.domain.edges import Floats, Ints

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scored:
    """n predictions of one model version; arrays have shape [n]. ``label`` is NaN while none came;
    for classification it is a class index (0/1 in the binary case). ``at_us`` is event time."""

    at_us: Ints
    score: Floats
    predicted: Ints
    label: Floats
    label_us: Ints
    outcome: Ints
    propensity: Floats
    flags: Ints
    units: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def labelled(self) -> Bools:
        """Where the label has come and there was an answer."""
        found: Bools = np.isfinite(self.label) & np.isfinite(self.score)
        return found

    def only(self, kept: Bools) -> "Scored":
        """The predictions where ``kept`` [n] is true."""
        return Scored(
            *(
                getattr(self, name)[kept]
                for name in (
                    "at_us", "score", "predicted", "label", "label_us", "outcome", "propensity",
                    "flags", "units",
                )
            )
        )  # fmt: skip
