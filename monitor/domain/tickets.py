"""When does drift become a ticket? Rarely, and for a reason that can be said in a sentence.

Two rules, either of which suffices, judged once a day and column:

- *gross*: false-discovery rate q < 0.05 over the run and the lower bound of the distance above the
  column's learned floor, in 2 of the last 3 windows;
- *lasting*: the CUSUM of the column's daily scores is above the limit of the whole family, and
  half as high again as it ever stood over the training days (days that follow each other are
  alike, so a sum of independent scores is too optimistic).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monitor.domain import cusum
from monitor.domain.drift import ColumnDrift
from monitor.domain.joint import JointDrift
from monitor.domain.multiplicity import q_values, z_of

Q_MAX = 0.05
WINDOWS, NEEDED = 3, 2
SERIES = 3
"""CUSUMs a column; their limit is set for all of a model's together."""
USUAL_TIMES = 1.5
SIGMA_WINDOWS = 3
"""A mean beyond 2 σ in so many windows running is gross breakage, where the distance is also surely
above what clean days show: a temperature wanders that far by itself when winter comes."""


@dataclass(slots=True)
class Track:
    """The memory of one column between windows; plain numbers, to be stored as they are."""

    gross: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOWS))
    beyond: int = 0
    shape: float = 0.0
    nulls: float = 0.0
    outside: float = 0.0
    """CUSUMs of the scores of the distribution, of the share of unusable values, and of the share
    outside the training range or of categories never seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why one column deserves a ticket after this window (or does not)."""

    column: str
    q: float
    gross: bool
    lasting: bool
    nulls: bool
    outside: bool
    beyond_two_sigma: bool
    shape_total: float
    nulls_total: float
    outside_total: float
    limit: float
    """Of ``shape_total``; at least the family's."""
    nulls_limit: float
    """Of ``nulls_total`` and ``outside_total``: the family's."""

    @property
    def ticket(self) -> bool:
        """Any rule holds."""
        return self.gross or self.lasting or self.nulls or self.outside or self.beyond_two_sigma


def judge_run(found: Mapping[str, ColumnDrift], tracks: Mapping[str, Track]) -> tuple[Finding, ...]:
    """Judges one daily window of all columns and moves their ``tracks`` on (they are changed).

    Columns without enough data keep their memory as it is.
    """
    usable = [name for name, drift in found.items() if drift.state == "OK"]
    q = dict(zip(usable, q_values([found[name].robust_p for name in usable]), strict=True))
    limit = cusum.limit_for(SERIES * len(found))
    return tuple(_judge(name, found[name], tracks[name], float(q[name]), limit) for name in usable)


def judge_joint_run(found: JointDrift, track: Track, columns: int) -> bool:
    """Moves the joint track on by one daily window: is the columns' dependence lastingly off?

    It shares the budget of the run: its limit is that of ``columns`` columns.
    """
    track.shape = cusum.step(track.shape, found.z)
    return track.shape > joint_limit(found, columns)


def joint_limit(found: JointDrift, columns: int) -> float:
    """The limit of the joint track."""
    return max(cusum.limit_for(SERIES * columns), USUAL_TIMES * found.usual)


def joint_sentence(found: JointDrift, track: Track, columns: int) -> str:
    """Which pairs moved, how much, against what limit, on how many rows."""
    pairs = ", ".join(
        f"{pair.first} with {pair.second} from {pair.before:+.2f} to {pair.now:+.2f}"
        for pair in found.pairs
    )
    named = f"correlations changed: {pairs}" if pairs else "the joint distribution changed"
    return (
        f"{named}; evidence {track.shape:.1f} against a limit of "
        f"{joint_limit(found, columns):.1f} on {found.rows} rows"
    )


def sentence(finding: Finding, drift: ColumnDrift, days: int) -> str:
    """What, how much, against what limit, on how many rows."""
    if finding.nulls:
        return (
            f"{finding.column}: {drift.null_rate:.1%} of {drift.rows} rows have no usable value; "
            f"evidence {finding.nulls_total:.1f} against a limit of {finding.nulls_limit:.1f}"
        )
    if finding.outside and not finding.gross and not finding.lasting:
        where = "outside the training range"
        if drift.kind == "categorical":
            where = "in categories never seen in training"
        return (
            f"{finding.column}: {drift.outside_rate:.2%} of {drift.counted} rows {where}; evidence "
            f"{finding.outside_total:.1f} against a limit of {finding.nulls_limit:.1f}"
        )
    what = (
        f"{finding.column}: distance {drift.distance:.3f} from training (most at "
        f"{drift.location}) on {drift.counted} rows"
    )
    if finding.gross:
        return (
            f"{what}, at least {drift.low:.3f} against a floor of {drift.floor:.3f} "
            f"in {NEEDED} of {WINDOWS} windows (q = {finding.q:.2g})"
        )
    return (
        f"{what}; lasting: the evidence of up to {days} days adds up to {finding.shape_total:.1f} "
        f"against a limit of {finding.limit:.1f}"
    )


def restart(tracks: Sequence[Track]) -> None:
    """Forgets, after a ticket was resolved or a new baseline took over."""
    for track in tracks:
        track.gross.clear()
        track.beyond, track.shape, track.nulls, track.outside = 0, 0.0, 0.0, 0.0


def _judge(name: str, drift: ColumnDrift, track: Track, q: float, limit: float) -> Finding:
    compared = drift.counted > 0 and drift.distance_max > 0
    track.gross.append(compared and q < Q_MAX and drift.low > drift.floor)
    track.beyond = track.beyond + 1 if drift.beyond_two_sigma else 0
    if compared:
        track.shape = cusum.step(track.shape, drift.z)
    track.nulls = cusum.step(track.nulls, float(z_of(drift.null_p)))
    track.outside = cusum.step(track.outside, float(z_of(drift.outside_p)))
    shape_limit = max(limit, USUAL_TIMES * drift.usual)
    return Finding(
        column=name,
        q=q,
        gross=sum(track.gross) >= NEEDED,
        lasting=track.shape > shape_limit,
        nulls=track.nulls > limit,
        outside=track.outside > limit,
        beyond_two_sigma=track.beyond >= SIGMA_WINDOWS and drift.low > drift.floor,
        shape_total=track.shape,
        nulls_total=track.nulls,
        outside_total=track.outside,
        limit=shape_limit,
        nulls_limit=limit,
    )
