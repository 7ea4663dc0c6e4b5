"""Request-time features: the functions of a feature service, on the vectors of a batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.domain.inputs import Features
from inference.domain.instances import Values
from shared_features.compile import CompiledService
from shared_features.dtypes import FIXED

_NUMPY = {"float64": np.float64, "float32": np.float32, "int64": np.int64, "int32": np.int32}
Outputs = dict[str, Any]  # vectors by ref, and by bare name


class RequestTime:
    """All functions of one service. They are users' code: a row they fail on answers for itself."""

    def __init__(self, service: CompiledService) -> None:
        self._functions = service.on_demand
        self._dtypes = {**service.entity_columns, **service.request_fields}
        self._needed = sorted({ref for one in service.on_demand for ref in one.inputs})

    def compute(
        self, request: Mapping[str, Values], features: Features, rows: int
    ) -> tuple[Outputs, npt.NDArray[np.bool_] | None]:
        """The outputs, and the rows that could not be computed (None: all could)."""
        vectors: dict[str, Any] = {
            name: _vector(values, self._dtypes.get(name, "string"))
            for name, values in request.items()
        }
        for ref in self._needed:
            # The store is away: its functions get nulls, as for an entity nobody knows.
            vectors[ref] = np.full(rows, np.nan)
            if features is not None:
                values = features[ref].values
                vectors[ref] = np.array(values, object) if type(values) is list else values
        try:
            return self._call(vectors), None
        except Exception:  # noqa: BLE001 - users' code may raise anything
            return self._one_by_one(vectors, rows)

    def _call(self, vectors: Mapping[str, Any]) -> Outputs:
        outputs: Outputs = {}
        for function in self._functions:
            for name, values in function(dict(vectors)).items():
                outputs[f"{function.name}:{name}"] = outputs[name] = values
        return outputs

    def _one_by_one(
        self, vectors: Mapping[str, Any], rows: int
    ) -> tuple[Outputs, npt.NDArray[np.bool_]]:
        """Each row alone, once: what it fails on is null and told."""
        failed = np.zeros(rows, np.bool_)
        done: dict[int, Outputs] = {}
        for row in range(rows):
            try:
                done[row] = self._call(
                    {name: values[row : row + 1] for name, values in vectors.items()}
                )
            except Exception:  # noqa: BLE001 - as above
                failed[row] = True
        outputs: Outputs = {}
        for function in self._functions:
            for name, dtype in function.outputs.items():
                number = dtype in FIXED
                values = np.full(rows, np.nan if number else None, object)
                for row, given in done.items():
                    values[row] = given[f"{function.name}:{name}"][0]
                column = values.astype(np.float64) if number else values
                outputs[f"{function.name}:{name}"] = outputs[name] = column
        return outputs, failed


def _vector(values: Values, dtype: str) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if dtype == "bool":
        return np.array(values, np.bool_)
    if dtype == "string" or any(value is None for value in values):  # a null key
        return np.array(values, object)
    return np.array(values, _NUMPY.get(dtype, np.int64))
