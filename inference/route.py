"""Which version answers each row? Parses what arrived, routes it, checks it; no I/O."""

from collections.abc import Callable, Sequence

import orjson

from contracts.problems import ProblemCode
from inference.domain.asked import Arrival, Asked, Group, Mixed
from inference.domain.fleet import Fleet, ServedModel
from inference.domain.instances import FieldError, FieldRefused, Row
from inference.domain.split import unit_of
from inference.ports import Routed
from kit.problems import Problem

ROWS_MAX = 10_000
CELLS_MAX = 200_000
GROUP_ROWS_MAX = 1_024


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
                if name not in fleet.models:
                    raise _unknown(name, fleet)
                rows = rows_of(arrival.ask.body)
                asked.setdefault(name, []).append(Asked(arrival, rows, len(rows)))
            except Problem as problem:
                refused.append((arrival, problem))
        groups: list[Group] = []
        for name, several in asked.items():
            groups += _split(fleet.models[name], fleet.epoch, several)
        return Routed(_checked(groups, refused), refused)


def rows_of(body: bytes) -> list[Row]:
    """The instances of a ``POST /predict`` body. Raises ``Problem``."""
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
    if len(instances) > ROWS_MAX:
        raise Problem(ProblemCode.INVALID_INPUT, f"At most {ROWS_MAX} rows a request.")
    cells = 0
    for index, row in enumerate(instances):
        if type(row) is not dict:
            error = FieldError(index, "", "not-an-instance")
            raise _invalid([error])
        cells += len(row)
    if cells > CELLS_MAX:
        raise Problem(ProblemCode.INVALID_INPUT, f"At most {CELLS_MAX} cells a request.")
    return instances


def _unknown(name: str, fleet: Fleet) -> Problem:
    if name in fleet.missing:
        return Problem(ProblemCode.MODEL_UNAVAILABLE, "This model is not loaded yet.")
    return Problem(ProblemCode.NOT_FOUND, "No model of this name is served.")


def _invalid(errors: list[FieldError]) -> Problem:
    return Problem(
        ProblemCode.INVALID_INPUT,
        "The instances do not fit what this model takes.",
        errors=[error.as_json() for error in errors],
    )


def _split(model: ServedModel, epoch: int, several: list[Asked]) -> list[Group]:
    """Groups of at most ``GROUP_ROWS_MAX`` rows: a request of 10,000 rows is scored in pieces, and
    the rows of others get their turn between them."""
    full: list[Group] = []
    filling: dict[int, Group] = {}

    def group_for(arm: int, rows: int) -> Group:
        group = filling.get(arm)
        if group is None or (group.rows and len(group.rows) + rows > GROUP_ROWS_MAX):
            group = Group(model, model.route.arms[arm], model.loaded[arm], epoch)
            filling[arm] = group
            full.append(group)
        return group

    keys = model.unit_key
    for asked in several:
        units = [unit_of([row.get(key) for key in keys]) for row in asked.rows]
        arms = model.split.arms_of(units)
        first = arms[0]
        if len(arms) <= GROUP_ROWS_MAX and arms.count(first) == len(arms):
            group_for(first, len(arms)).add(asked, asked.rows, units, list(range(len(units))))
            continue
        asked.mixed = Mixed([None] * len(units), [None] * len(units))
        for arm in sorted(set(arms)):
            chosen = [index for index, one in enumerate(arms) if one == arm]
            for start in range(0, len(chosen), GROUP_ROWS_MAX):
                indices = chosen[start : start + GROUP_ROWS_MAX]
                rows = [asked.rows[index] for index in indices]
                own = [units[index] for index in indices]
                group_for(arm, len(rows)).add(asked, rows, own, indices)
    return full


def _checked(groups: list[Group], refused: list[tuple[Arrival, Problem]]) -> list[Group]:
    """The groups with their columns taken; requests that do not fit go to ``refused``."""
    wrong: dict[int, Problem] = {}
    for group in groups:
        try:
            group.columns = group.loaded.schema.columns(group.rows)
        except (FieldRefused, KeyError):
            for asked in group.owners:
                problem = _problem_of(group, asked)
                if problem is not None and id(asked) not in wrong:
                    wrong[id(asked)] = problem
                    refused.append((asked.arrival, problem))
    if not wrong:
        return groups
    kept = []
    for group in groups:
        out = {place for place, asked in enumerate(group.owners) if id(asked) in wrong}
        rest = group.without(out) if out else group
        if rest.owners:
            rest.columns = rest.loaded.schema.columns(rest.rows)
            kept.append(rest)
    return kept


def _problem_of(group: Group, asked: Asked) -> Problem | None:
    if not group.loaded.schema.fields:
        return Problem(
            ProblemCode.INVALID_INPUT,
            "This model takes tensors: use POST /v2/models/{model}/infer.",
        )
    errors = group.loaded.schema.errors(asked.rows)
    return _invalid(errors) if errors else None
