"""Which version answers each row? Parses what arrived, routes it, checks it; no I/O."""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import orjson

from contracts.envelope import CELLS_MAX, ROWS_MAX, BadEnvelope, read_envelope
from contracts.frames import Ask
from contracts.problems import ProblemCode
from inference.domain.answers import invalid_row
from inference.domain.asked import Arrival, Asked, Group, Mixed
from inference.domain.fleet import Fleet, ServedModel
from inference.domain.instances import ERRORS_MAX, FieldError, FieldRefused, Row
from inference.domain.split import units_of
from inference.ports import Routed
from kit.problems import Problem

GROUP_ROWS_MAX = 1_024
EXPLAINED_ROWS_MAX = 1_000
"""An explained row of 30 features is 1.2 kB; 10,000 held up everybody else for 0.7 s."""
_DICTS, _COLON = {dict}, ord(":")
ERRORS_SAID_MAX = 3
"""So many are told in words; the list has more."""


class Route:
    """Turns arrivals into one group of rows a version."""

    def __init__(self, fleet: Callable[[], Fleet]) -> None:
        self._fleet = fleet

    def __call__(self, arrivals: Sequence[Arrival]) -> Routed:
        """Parse, route by the sticky hash, check against the answering version's fields."""
        fleet = self._fleet()
        refused: list[tuple[Arrival, Problem]] = []
        asked: dict[str, list[Asked]] = {}
        for arrival in arrivals:
            try:
                name = arrival.ask.target
                arrival.rows = arrival.ask.rows_max
                if name not in fleet.models:
                    raise _unknown(name, fleet)
                arrival.rows = 0
                rows = _read(arrival.ask) if arrival.ask.rows_max else rows_of(arrival.ask.body)
                arrival.rows = len(rows)
                if arrival.ask.explain and len(rows) > EXPLAINED_ROWS_MAX:
                    raise _too_many_explained()
                asked.setdefault(name, []).append(Asked(arrival, rows, len(rows)))
            except Problem as problem:
                refused.append((arrival, problem))
        groups: list[Group] = []
        for name, several in asked.items():
            groups += _split(fleet.models[name], fleet.epoch, several)
        return Routed(_checked(groups, refused), refused)


def _too_many_explained() -> Problem:
    detail = f"At most {EXPLAINED_ROWS_MAX} rows are explained at a time."
    errors = [{"pointer": "/instances", "code": f"more-than-{EXPLAINED_ROWS_MAX}-rows-explained"}]
    return Problem(ProblemCode.INVALID_INPUT, detail, errors=errors)


def _read(ask: Ask) -> list[Row]:
    """``rows_of`` a body that nobody has read yet: strictly."""
    colons = np.count_nonzero(np.frombuffer(ask.body, np.uint8) == _COLON)  # 5 times as fast
    try:
        return read_envelope(ask.body, ask.rows_max, int(colons))[1]
    except BadEnvelope as bad:
        raise Problem(bad.code, bad.detail, errors=bad.errors) from None


def rows_of(body: bytes) -> list[Row]:
    """The instances of a ``POST /predict`` body that was read before. Raises ``Problem``."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Problem(ProblemCode.MALFORMED_JSON, "The body is not well-formed JSON.") from None
    instances = document.get("instances") if type(document) is dict else None
    if type(instances) is not list or not instances:
        raise Problem(
            ProblemCode.INVALID_INPUT,
            'Send {"model": name, "instances": [row, ...]} with at least one row.',
            errors=[{"pointer": "/instances", "code": "missing"}],
        )
    if len(instances) == 1 and type(instances[0]) is dict and len(body) <= CELLS_MAX:
        return instances  # most requests, 0.2 µs sooner: a cell takes five bytes
    if len(instances) > ROWS_MAX:
        raise Problem(ProblemCode.INVALID_INPUT, f"At most {ROWS_MAX} rows a request.")
    if set(map(type, instances)) != _DICTS:
        first = next(at for at, row in enumerate(instances) if type(row) is not dict)
        raise _invalid([FieldError(first, "", "not-an-instance")])
    if len(body) > CELLS_MAX and sum(map(len, instances)) > CELLS_MAX:
        raise Problem(ProblemCode.INVALID_INPUT, f"At most {CELLS_MAX} cells a request.")
    return instances


def _unknown(name: str, fleet: Fleet) -> Problem:
    if name in fleet.missing:
        return Problem(ProblemCode.MODEL_UNAVAILABLE, "This model is not loaded yet.")
    detail = "No model of this name is served; GET /v1/models names those there are."
    return Problem(ProblemCode.NOT_FOUND, detail)


def _invalid(errors: list[FieldError]) -> Problem:
    wanted = "; ".join(error.sentence() for error in errors[:ERRORS_SAID_MAX])
    return Problem(
        ProblemCode.INVALID_INPUT,
        f"The instances do not fit what this model takes: {wanted}.",
        errors=[error.as_json() for error in errors],
    )


def _split(model: ServedModel, epoch: int, several: list[Asked]) -> list[Group]:
    """Groups of at most ``GROUP_ROWS_MAX`` rows: a request of 10,000 rows is scored in pieces, and
    the rows of others get their turn between them."""
    rows = list(chain.from_iterable([asked.rows for asked in several]))
    units = units_of(rows, model.unit_key)
    arms = model.split.arms_of(units)
    arm = arms[0]
    if len(rows) > GROUP_ROWS_MAX or arms.count(arm) != len(arms):
        return _split_by_arms(model, epoch, several, units, arms)
    counts = [len(asked.rows) for asked in several]
    return [
        Group(
            model=model,
            arm=model.route.arms[arm],
            loaded=model.loaded[arm],
            epoch=epoch,
            owners=several,
            counts=counts,
            indices=list(chain.from_iterable(map(range, counts))),
            rows=rows,
            units=units,
        )
    ]


def _split_by_arms(
    model: ServedModel, epoch: int, several: list[Asked], units: list[str], arms: list[int]
) -> list[Group]:
    full: list[Group] = []
    filling: dict[int, Group] = {}

    def group_for(arm: int, rows: int) -> Group:
        group = filling.get(arm)
        if group is None or (group.rows and len(group.rows) + rows > GROUP_ROWS_MAX):
            group = Group(model, model.route.arms[arm], model.loaded[arm], epoch)
            filling[arm] = group
            full.append(group)
        return group

    start = 0
    for asked in several:
        end = start + len(asked.rows)
        mine, taken = units[start:end], arms[start:end]
        start, first = end, taken[0]
        if len(taken) <= GROUP_ROWS_MAX and taken.count(first) == len(taken):
            group_for(first, len(taken)).add(asked, asked.rows, mine, list(range(len(mine))))
            continue
        asked.mixed = Mixed([None] * len(mine), [None] * len(mine))
        for arm in sorted(set(taken)):
            chosen = [index for index, one in enumerate(taken) if one == arm]
            for at in range(0, len(chosen), GROUP_ROWS_MAX):
                indices = chosen[at : at + GROUP_ROWS_MAX]
                rows = [asked.rows[index] for index in indices]
                own = [mine[index] for index in indices]
                group_for(arm, len(rows)).add(asked, rows, own, indices)
    return full


def _checked(groups: list[Group], refused: list[tuple[Arrival, Problem]]) -> list[Group]:
    """The groups with their columns taken. A row that does not fit answers for itself; a request
    of which no row fits goes to ``refused``."""
    kept = []
    for group in groups:
        rest = group
        try:
            group.columns = group.loaded.schema.columns(group.rows)
        except (FieldRefused, KeyError):
            if not group.loaded.schema.fields:
                refused += [(asked.arrival, _takes_tensors()) for asked in group.owners]
                continue
            rest = _fitting(group)
            if rest.rows:
                rest.columns = rest.loaded.schema.columns(rest.rows)
            hopeless = [asked for asked in group.owners if not asked.rows_left]
            refused += [(asked.arrival, _invalid(_errors_of(asked))) for asked in hopeless]
        if rest.rows:
            kept.append(rest)
    return kept


def _takes_tensors() -> Problem:
    return Problem(
        ProblemCode.INVALID_INPUT, "This model takes tensors: use POST /v2/models/{model}/infer."
    )


def _errors_of(asked: Asked) -> list[FieldError]:
    return [] if asked.mixed is None else asked.mixed.errors


def _fitting(group: Group) -> Group:
    """The group without the rows that do not fit; their errors stand in their requests."""
    rest = Group(group.model, group.arm, group.loaded, group.epoch)
    writer = group.loaded.writer(group.arm.variant)
    start = 0
    for asked, count in zip(group.owners, group.counts, strict=True):
        good = []
        for place in range(start, start + count):
            errors = group.loaded.schema.errors([group.rows[place]], group.indices[place])
            if not errors:
                good.append(place)
                continue
            if asked.mixed is None:
                asked.mixed = Mixed([None] * len(asked.rows), [None] * len(asked.rows))
            asked.mixed.pieces[group.indices[place]] = (invalid_row(errors), writer)
            asked.mixed.errors += errors[: max(0, ERRORS_MAX - len(asked.mixed.errors))]
            asked.rows_left -= 1
        start += count
        if good:
            rows = [group.rows[place] for place in good]
            units = [group.units[place] for place in good]
            rest.add(asked, rows, units, [group.indices[place] for place in good])
    return rest
