"""A feature service, resolved: what to read, by which keys, what to compute, and the fingerprint.

Both paths take a ``CompiledService``: the historical join and the online look-up read the same
views by the same keys and call the same request-time functions; columns are named by their refs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared_features.canonical import (
    describe_on_demand,
    describe_view,
    fingerprint,
    view_dtypes,
)
from shared_features.definitions import FeatureService, View
from shared_features.errors import DefinitionError, UnknownRef
from shared_features.on_demand import OnDemand


@dataclass(frozen=True, slots=True)
class CompiledFeature:
    """One output column. ``read`` indexes ``CompiledService.reads``; None: a function's output."""

    ref: str
    dtype: str
    read: int | None
    feature: str


@dataclass(frozen=True, slots=True)
class CompiledRead:
    """One view read for one entity of the row."""

    view: View
    alias: str
    key_columns: tuple[str, ...]
    """The fields of a row that hold the key, in the order of the entity's keys."""
    fingerprint: str
    """Of the view; it names the view's place in the online store."""


@dataclass(frozen=True, slots=True)
class CompiledService:
    """What a model takes, ready for both paths."""

    name: str
    features: tuple[CompiledFeature, ...]
    """The output columns, in the order of the service's refs."""
    reads: tuple[CompiledRead, ...]
    inputs: tuple[CompiledFeature, ...]
    """View features that the functions take, whether or not the service lists them."""
    on_demand: tuple[OnDemand, ...]
    """Request-time functions: ``.inputs`` (refs), ``.request`` and ``.outputs`` (name -> dtype);
    call one with vectors by name. Its outputs have the refs ``<function name>:<output>``."""
    entity_columns: Mapping[str, str]
    """Field -> dtype of the keys that each row must bring."""
    request_fields: Mapping[str, str]
    """Field -> dtype of what the functions need beside keys and features."""
    json: Mapping[str, Any]
    """The canonical description; ``canonical_json`` of it is what the fingerprint is of."""
    fingerprint: str

    @property
    def refs(self) -> tuple[str, ...]:
        """The output columns' refs."""
        return tuple(feature.ref for feature in self.features)


def split_ref(ref: str) -> tuple[str, str, str]:
    """``view:feature`` or ``view@alias:feature`` -> (view, alias or "", feature)."""
    left, colon, feature = ref.partition(":")
    view, at, alias = left.partition("@")
    if not colon or not view or not feature or ":" in feature or (at and not alias):
        raise DefinitionError(
            f"ref {ref!r}", "it is not a ref", "Write view:feature or view@alias:feature"
        )
    return view, alias, feature


def compile_service(
    service: FeatureService, views: Mapping[str, View], functions: Mapping[str, OnDemand]
) -> CompiledService:
    """Resolve every ref. Raises ``UnknownRef`` or ``DefinitionError``; nothing is left to luck."""
    resolver = _Resolver(service, views, functions)
    features = tuple(resolver.feature(ref) for ref in service.refs)
    repeated = [ref for ref in service.refs if service.refs.count(ref) > 1]
    if repeated:
        raise DefinitionError(
            f"FeatureService {service.name!r}", f"two columns are named {repeated[0]!r}", "Drop one"
        )
    used = tuple(resolver.functions.values())
    inputs = tuple(
        resolver.feature(ref) for ref in dict.fromkeys(r for f in used for r in f.inputs)
    )
    entity_columns = resolver.entity_columns()
    request = _request_fields(service, used)
    _no_collisions(service, entity_columns, request)
    described = _describe(service, features, resolver)
    return CompiledService(
        name=service.name,
        features=features,
        reads=tuple(resolver.reads.values()),
        inputs=inputs,
        on_demand=used,
        entity_columns=entity_columns,
        request_fields=request,
        json=described,
        fingerprint=fingerprint(described),
    )


class _Resolver:
    def __init__(
        self,
        service: FeatureService,
        views: Mapping[str, View],
        functions: Mapping[str, OnDemand],
    ) -> None:
        self._service = service
        self._views = views
        self._known_functions = functions
        self.reads: dict[tuple[str, str], CompiledRead] = {}
        self.functions: dict[str, OnDemand] = {}

    def feature(self, ref: str) -> CompiledFeature:
        name, alias, feature = split_ref(ref)
        function = self._known_functions.get(name)
        if function is not None and not alias:
            if feature not in function.outputs:
                raise UnknownRef(f"feature {ref!r}", [f"{name}:{o}" for o in function.outputs])
            self.functions[name] = function
            return CompiledFeature(ref, function.outputs[feature], None, feature)
        view = self._views.get(name)
        if view is None:
            raise UnknownRef(f"view {name!r}", [*self._views, *self._known_functions])
        dtypes = view_dtypes(view)
        if feature not in dtypes:
            raise UnknownRef(f"feature {ref!r}", [f"{name}:{known}" for known in dtypes])
        return CompiledFeature(ref, dtypes[feature], self._read(view, alias), feature)

    def _read(self, view: View, alias: str) -> int:
        place = (view.name, alias)
        if place not in self.reads:
            mapped = self._service.aliases.get(alias, {}) if alias else {}
            columns = tuple(
                mapped.get(key, f"{alias}_{key}" if alias else key) for key in view.entity.keys
            )
            printed = fingerprint(describe_view(view))
            self.reads[place] = CompiledRead(view, alias, columns, printed)
        return list(self.reads).index(place)

    def entity_columns(self) -> dict[str, str]:
        columns: dict[str, str] = {}
        for read in self.reads.values():
            dtypes = read.view.entity.keys.values()
            for column, dtype in zip(read.key_columns, dtypes, strict=True):
                if columns.setdefault(column, dtype) != dtype:
                    raise DefinitionError(
                        f"FeatureService {self._service.name!r}",
                        f"the key field {column!r} would be {columns[column]} and {dtype}",
                        "Use an alias for one of the entities",
                    )
        return columns


def _request_fields(service: FeatureService, used: tuple[OnDemand, ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for function in used:
        for name, dtype in function.request.items():
            if fields.setdefault(name, dtype) != dtype:
                raise DefinitionError(
                    f"FeatureService {service.name!r}",
                    f"the request field {name!r} would be {fields[name]} and {dtype}",
                    "Declare one dtype in all functions",
                )
    return fields


def _no_collisions(
    service: FeatureService, entity_columns: Mapping[str, str], request: Mapping[str, str]
) -> None:
    for name in entity_columns:
        if name in request and request[name] != entity_columns[name]:
            raise DefinitionError(
                f"FeatureService {service.name!r}",
                f"{name!r} is a key of dtype {entity_columns[name]} and a request field of dtype "
                f"{request[name]}",
                "Declare the same dtype, or rename the request field",
            )


def _describe(
    service: FeatureService, features: tuple[CompiledFeature, ...], resolver: _Resolver
) -> dict[str, Any]:
    return {
        "format": 1,
        "name": service.name,
        "features": [{"ref": feature.ref, "dtype": feature.dtype} for feature in features],
        "reads": [
            {"view": read.view.name, "alias": read.alias, "key_columns": list(read.key_columns)}
            for read in resolver.reads.values()
        ],
        "views": {read.view.name: describe_view(read.view) for read in resolver.reads.values()},
        "on_demand": {
            name: describe_on_demand(function) for name, function in resolver.functions.items()
        },
    }
