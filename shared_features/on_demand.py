"""Request-time features: one function object for training and serving.

    @on_demand(
        request={"scheduled_departure": "timestamp", "distance": "int64"},
        outputs={"local_hour": "int64", "distance_km": "float64"},
    )
    def calendar(columns):
        ...
        return {"local_hour": hours, "distance_km": columns["distance"] * 1.609344}

The function is called with vectors, one entry a row, for any number of rows: numpy arrays by name.
Request fields keep their dtype (a timestamp is int64 microseconds UTC; strings are an object
array). Inputs taken from views are float64 with NaN for null, or an object array with None for
strings and lists. It returns one array for each declared output; NaN or None is null. It must not
look at a clock, a file or the network: what it returns depends on its arguments alone.
"""

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared_features.dtypes import FIXED, check_dtype, check_name
from shared_features.errors import DefinitionError, MissingField

if TYPE_CHECKING:
    import numpy as np

Vectors = dict[str, Any]  # numpy arrays; numpy itself is not imported to define features
Function = Callable[[Vectors], Vectors]


@dataclass(frozen=True, slots=True)
class OnDemand:
    """A request-time function with everything it takes and gives."""

    name: str
    function: Function
    inputs: tuple[str, ...]
    """Refs of view features."""
    request: Mapping[str, str]
    """Request field -> dtype."""
    outputs: Mapping[str, str]
    """Output -> dtype; its ref is ``<name>:<output>``."""
    source_sha256: str

    def __call__(self, columns: Vectors) -> Vectors:
        """Evaluate on vectors; checks what came in and what went out."""
        for wanted in (*self.inputs, *self.request):
            if wanted not in columns:
                raise MissingField(wanted, f"the request-time function {self.name!r}")
        given = self.function({name: columns[name] for name in (*self.inputs, *self.request)})
        rows = len(columns[next(iter((*self.inputs, *self.request)))])
        return {output: self._checked(given, output, rows) for output in self.outputs}

    def _checked(self, given: Vectors, output: str, rows: int) -> "np.ndarray[Any, Any]":
        import numpy as np  # heavy; only evaluation needs it

        if output not in given or len(given[output]) != rows:
            raise DefinitionError(
                f"on_demand {self.name!r}",
                f"it returned no array of {rows} rows for {output!r}",
                "Return one array for each declared output",
            )
        if self.outputs[output] not in FIXED:
            return np.asarray(given[output], object)
        array = np.asarray(given[output])
        return array.astype(np.int64 if array.dtype.kind in "biu" else np.float64)


def on_demand(
    *,
    outputs: Mapping[str, str],
    inputs: Sequence[str] = (),
    request: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Callable[[Function], OnDemand]:
    """Declare a request-time function; its name (or ``name``) is the view part of its refs."""

    def declare(function: Function) -> OnDemand:
        label = name or function.__name__
        owner = f"on_demand {label!r}"
        check_name(label, "on_demand")
        fields = dict(request or {})
        if not fields and not inputs:
            raise DefinitionError(owner, "it takes nothing", "Declare inputs or request fields")
        if not outputs:
            raise DefinitionError(owner, "it gives nothing", "Declare its outputs")
        for column, dtype in (*fields.items(), *outputs.items()):
            check_name(column, f"field of {owner}")
            check_dtype(dtype, owner, column)
        source = textwrap.dedent(inspect.getsource(function))
        digest = hashlib.sha256(source.encode()).hexdigest()
        return OnDemand(label, function, tuple(inputs), fields, dict(outputs), digest)

    return declare
