"""Simulated worlds: how clean days differ, and how a feature goes wrong.

Every column is a monotone image of a latent standard normal, so a shift of "0.1 σ" means the same
for a skewed or a lumpy column as for a normal one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Column = npt.NDArray[np.float64] | npt.NDArray[np.object_]

ROWS_PER_DAY = 2000
TARGET, MIX_TARGET = 0, 3
"""The columns that are broken: a normal one, and a categorical one of ten levels."""


@dataclass(frozen=True, slots=True)
class World:
    """How clean days differ from each other."""

    name: str
    jitter: float = 0.0
    """σ of a harmless daily move of each column's mean, in column σ."""
    season: float = 0.0
    """Amplitude of a weekly wave of each column's mean."""
    clustering: float = 0.0
    """Share of the variance that belongs to a user with 20 rows a day."""
    swings: bool = False
    """Volume between a quarter and four times the usual."""
    int8: bool = False
    """Served values rounded to 256 levels over ±4 σ; training values are not."""

    def rows_on(self, day: int, rng: np.random.Generator) -> int:
        """Rows of a day (0 = Monday)."""
        if not self.swings:
            return ROWS_PER_DAY
        usual = ROWS_PER_DAY * (0.5 if day % 7 >= 5 else 1.0)
        return int(usual * np.exp(np.clip(rng.normal(0, 0.5), -1.3, 1.3)))

    def latent(self, day: int, rows: int, columns: int, rng: np.random.Generator) -> Floats:
        """Latent values of a day, shape [rows, columns]."""
        drawn = rng.standard_normal((rows, columns))
        if self.clustering > 0:
            users = rng.standard_normal((rows // 20 + 1, columns))
            mine = users[np.arange(rows) % len(users)]
            drawn = np.sqrt(1 - self.clustering) * drawn + np.sqrt(self.clustering) * mine
        moved = drawn + rng.normal(0, self.jitter, columns)
        if self.season > 0:
            phase = np.arange(columns)
            moved += self.season * np.sin(2 * np.pi * (day + phase) / 7)
        return moved


WORLDS = (
    World("independent rows"),
    World("daily jitter 0.03 σ", jitter=0.03),
    World("jitter and weekly season", jitter=0.03, season=0.1),
    World("clustered users", jitter=0.03, clustering=0.2),
    World("volume swings", jitter=0.03, season=0.1, swings=True),
    World("int8 rounding", jitter=0.03, int8=True),
)
MAIN = WORLDS[2]


@dataclass(frozen=True, slots=True)
class Shift:
    """How a column goes wrong from a given day on."""

    name: str
    column: int = TARGET
    mean: float = 0.0
    ramp_per_day: float = 0.0
    scale: float = 1.0
    tails: float = 0.0
    """Share of rows replaced by values four times as wide."""
    nulls: float = 0.0
    correlation: float = 0.0
    """With column 1."""

    def apply(
        self, latent: Floats, other: Floats, since: int, rng: np.random.Generator
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The broken latent column [n], ``since`` days after the break (0: the first), and which
        values are null."""
        moved = latent * self.scale + self.mean + self.ramp_per_day * (since + 1)
        if self.tails > 0:
            moved = np.where(rng.random(len(moved)) < self.tails, 4 * moved, moved)
        if self.correlation > 0:
            moved = self.correlation * other + np.sqrt(1 - self.correlation**2) * moved
        return moved, rng.random(len(moved)) < self.nulls


SHIFTS = (
    *(Shift(f"mean {size} σ", mean=size) for size in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)),
    Shift("gradual, 0.02 σ a day", ramp_per_day=0.02),
    Shift("spread × 1.1", scale=1.1),
    Shift("spread × 1.5", scale=1.5),
    Shift("tails: 2 % four times as wide", tails=0.02),
    Shift("tails: 10 % four times as wide", tails=0.10),
    Shift("nulls 1 %", nulls=0.01),
    Shift("nulls 5 %", nulls=0.05),
    Shift("category mix moved by 0.1 σ", column=MIX_TARGET, mean=0.1),
    Shift("category mix moved by 0.3 σ", column=MIX_TARGET, mean=0.3),
    Shift("correlation 0 → 0.2", correlation=0.2),
    Shift("correlation 0 → 0.5", correlation=0.5),
)


def name_of(column: int) -> str:
    """Column names, as everywhere in the benchmark."""
    return f"f{column}"


def image(column: int, latent: Floats, *, int8: bool = False) -> Column:
    """What the model is fed: a column's values from its latent ones.

    By column number modulo 5: normal, log-normal, 30 % atom at zero, categorical, heavy-tailed.
    """
    kind = column % 5
    if kind == 3:
        levels = (10, 3, 30, 100)[column // 5 % 4]
        shares = 1 / np.arange(1, levels + 1)
        cuts = special.ndtri(np.cumsum(shares / shares.sum())[:-1])
        return _names(levels)[np.searchsorted(cuts, latent)]
    if int8:
        latent = np.clip(np.round(latent * 32) / 32, -4, 4)
    if kind == 1:
        values: Floats = np.exp(latent / 2)
        return values
    if kind == 2:
        return np.maximum(latent, -0.5244)
    if kind == 4:
        return latent * np.exp(0.3 * np.abs(latent))
    return latent


def _names(levels: int) -> npt.NDArray[np.object_]:
    return np.array([f"c{level}" for level in range(levels)], dtype=object)
