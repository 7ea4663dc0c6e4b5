"""Definitions as canonical JSON: sorted keys, no spaces; its sha256 is the fingerprint."""

import hashlib
import json
from typing import Any

from shared_features.definitions import (
    CalendarWindow,
    FeatureView,
    Source,
    View,
    WindowView,
)
from shared_features.on_demand import OnDemand


def canonical_json(value: Any) -> str:
    """The one text of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def describe_source(source: Source, columns: set[str] | None = None) -> dict[str, Any]:
    """What of a source decides values: its name, lag, and the dtypes of ``columns`` (or all)."""
    return {
        "name": source.name,
        "availability_lag_us": source.lag_us,
        "columns": {
            name: dtype
            for name, dtype in source.columns.items()
            if columns is None or name in columns
        },
    }


def describe_view(view: View) -> dict[str, Any]:
    """Everything that decides a view's values; descriptions and owners do not."""
    used = set(view.entity.keys)
    head: dict[str, Any] = {
        "name": view.name,
        "entity": {"name": view.entity.name, "keys": list(view.entity.keys.items())},
    }
    if isinstance(view, FeatureView):
        used |= set(view.features)
        head |= {"kind": "latest", "max_age_us": view.max_age_us, "features": dict(view.features)}
    else:
        used |= {a.column for a in view.features.values() if a.column is not None}
        head["features"] = {
            name: {"function": aggregate.function, "column": aggregate.column}
            for name, aggregate in view.features.items()
        }
        if isinstance(view, WindowView):
            head |= {"kind": "window", "window_us": view.window_us}
        else:
            assert isinstance(view, CalendarWindow)
            head |= {"kind": "calendar", "period": view.period, "zone": view.zone}
    head["source"] = describe_source(view.source, used)
    return head


def describe_on_demand(function: OnDemand) -> dict[str, Any]:
    """Everything that decides a request-time function's values, its source text among it."""
    return {
        "name": function.name,
        "inputs": list(function.inputs),
        "request": dict(function.request),
        "outputs": dict(function.outputs),
        "source_sha256": function.source_sha256,
    }


def view_dtypes(view: View) -> dict[str, str]:
    """Feature -> dtype of what a view answers."""
    if isinstance(view, FeatureView):
        return dict(view.features)
    return {
        name: aggregate.dtype(view.source.columns, view.name)
        for name, aggregate in view.features.items()
    }
