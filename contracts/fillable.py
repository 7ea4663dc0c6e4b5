"""Can every input of a manifest be filled? What cannot would fail on every row that is served."""

from collections.abc import Mapping
from typing import Any

from contracts.manifest import InputColumn, Manifest

_WITHOUT_NULL = {"int64": int, "int32": int, "bool": bool}
_TAKES: dict[str, type | tuple[type, ...]] = {
    "float32": (int, float),
    "float64": (int, float),
    "string": str,
    **_WITHOUT_NULL,
}


def unfillable(manifest: Manifest, service: Mapping[str, Any] | None = None) -> list[str]:
    """A sentence for every input that nothing fills, or not with what it takes; the unit too.

    ``service`` is the compiled feature service's canonical JSON; by default the manifest's own.
    """
    try:
        given = _given(manifest, service or manifest.feature_service_json)
    except (KeyError, TypeError, AttributeError):
        return ["feature_service_json is no compiled feature service"]
    faults = [
        f"unit_key: {name} is no entity key and no request field: rows without it would be one unit"
        for name in manifest.unit_key
        if manifest.task != "raw" and f"request:{name}" not in given
    ]
    for column in manifest.inputs:
        if column.source not in given:
            faults.append(f"{column.name}: {_nothing_gives(column, manifest)}")
            continue
        dtype = given[column.source]
        if dtype is not None and (dtype == "string") != (column.dtype == "string"):
            faults.append(f"{column.name}: {column.source} is {dtype}, not {column.dtype}")
        if wrong := policy_fault(column):
            faults.append(f"{column.name}: {wrong}")
    return faults


def policy_fault(column: InputColumn) -> str | None:
    """Why what stands in for a missing value cannot, or None."""
    if column.on_missing == "default":
        takes, default = _TAKES[column.dtype], column.default
        if default is None:
            return 'on_missing="default" needs a default'
        if not isinstance(default, takes) or (isinstance(default, bool) and column.dtype != "bool"):
            return f"the default {default!r} is no {column.dtype}"
    looked_up = not column.source.startswith(("request:", "on_demand:"))
    if column.on_missing == "null" and looked_up and column.dtype in _WITHOUT_NULL:
        return (
            f'{column.dtype} has no null: on_missing is "default" or "fail", or the input a float'
        )
    return None


def _given(manifest: Manifest, service: Mapping[str, Any] | None) -> dict[str, str | None]:
    """The dtype of everything that an input may name; None where the manifest does not say."""
    fields: dict[str, str | None] = dict.fromkeys(manifest.entity_keys)
    fields |= manifest.request_fields
    given = {f"request:{name}": dtype for name, dtype in fields.items()}
    if manifest.feature_service is None or service is None:
        return given
    given |= {one["ref"]: one["dtype"] for one in service["features"]}
    for function in service["on_demand"].values():
        given |= {ref: given.get(ref) for ref in function["inputs"]}
        for field, dtype in function["request"].items():
            given.setdefault(f"request:{field}", dtype)
        for name, dtype in function["outputs"].items():
            given[f"on_demand:{name}"] = given[f"{function['name']}:{name}"] = dtype
    return given


def _nothing_gives(column: InputColumn, manifest: Manifest) -> str:
    family, _, name = column.source.partition(":")
    if family == "request":
        return f"request_fields has no {name}"
    if manifest.feature_service is None:
        return f"{column.source} is looked up, but there is no feature_service"
    return f"the feature service {manifest.feature_service} has no {column.source}"
