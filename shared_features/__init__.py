"""What *is* a feature? The one library that training and serving import: no I/O, no clock.

Define with ``Entity``, ``Source``, ``FeatureView``, ``WindowView``, ``CalendarWindow``,
``Aggregate``, ``@on_demand`` and ``FeatureService``; load and compile with ``load_catalogue``.
"""

from shared_features.canonical import canonical_json
from shared_features.catalogue import Catalogue, load_catalogue
from shared_features.compile import CompiledFeature, CompiledRead, CompiledService, split_ref
from shared_features.definitions import (
    Aggregate,
    CalendarWindow,
    Entity,
    FeatureService,
    FeatureView,
    Source,
    View,
    WindowView,
)
from shared_features.errors import DefinitionError, MissingField, UnknownRef
from shared_features.on_demand import OnDemand, on_demand

__all__ = [
    "Aggregate",
    "CalendarWindow",
    "Catalogue",
    "CompiledFeature",
    "CompiledRead",
    "CompiledService",
    "DefinitionError",
    "Entity",
    "FeatureService",
    "FeatureView",
    "MissingField",
    "OnDemand",
    "Source",
    "UnknownRef",
    "View",
    "WindowView",
    "canonical_json",
    "load_catalogue",
    "on_demand",
    "split_ref",
]
