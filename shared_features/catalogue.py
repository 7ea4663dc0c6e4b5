"""All definitions of a process: loaded from user modules, checked together, compiled by name.

catalogue = load_catalogue(["leadline.demo.features"])  # modules or paths of .py files
service = catalogue.compile("delay_v2")                 # a FeatureService by name
service = catalogue.compile_refs(["weather:temp"])      # or refs as they come
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from shared_features.canonical import (
    describe_on_demand,
    describe_source,
    describe_view,
    fingerprint,
)
from shared_features.compile import CompiledService, compile_service
from shared_features.definitions import (
    CalendarWindow,
    Entity,
    FeatureService,
    FeatureView,
    Source,
    View,
    WindowView,
)
from shared_features.errors import DefinitionError, UnknownRef
from shared_features.on_demand import OnDemand

Definition = Entity | Source | View | OnDemand | FeatureService


class Catalogue:
    """Definitions by name. Names are unique among views and request-time functions together."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self.entities: dict[str, Entity] = {}
        self.sources: dict[str, Source] = {}
        self.views: dict[str, View] = {}
        self.functions: dict[str, OnDemand] = {}
        self.services: dict[str, FeatureService] = {}
        for definition in definitions:
            self._add(definition)
        for service in self.services.values():
            self.compile(service.name)

    def _add(self, definition: Definition) -> None:
        if isinstance(definition, Entity):
            _register(self.entities, definition, "Entity")
        elif isinstance(definition, Source):
            _register(self.sources, definition, "Source")
        elif isinstance(definition, FeatureService):
            _register(self.services, definition, "FeatureService")
        elif isinstance(definition, OnDemand):
            if definition.name in self.views:
                raise _clash(definition.name)
            _register(self.functions, definition, "on_demand")
        else:
            if definition.name in self.functions:
                raise _clash(definition.name)
            _register(self.views, definition, "view")
            _register(self.entities, definition.entity, "Entity")
            _register(self.sources, definition.source, "Source")

    def compile(self, service: str) -> CompiledService:
        """The service of that name, compiled. Raises ``UnknownRef`` when there is none."""
        if service not in self.services:
            raise UnknownRef(f"feature service {service!r}", list(self.services))
        return compile_service(self.services[service], self.views, self.functions)

    def compile_refs(
        self, refs: Sequence[str], aliases: Mapping[str, Mapping[str, str]] | None = None
    ) -> CompiledService:
        """Refs that no service lists, compiled under the name ``ad_hoc``."""
        service = FeatureService("ad_hoc", tuple(refs), aliases or {})
        return compile_service(service, self.views, self.functions)

    def views_of(self, source: str) -> list[View]:
        """The views that read a source."""
        return [view for view in self.views.values() if view.source.name == source]

    def source(self, name: str) -> Source:
        """The source of that name, or the source of the view of that name."""
        if name in self.sources:
            return self.sources[name]
        if name in self.views:
            return self.views[name].source
        raise UnknownRef(f"source or view {name!r}", [*self.sources, *self.views])

    def adopt(self, other: "Catalogue") -> None:
        """Take over all definitions of ``other``; whoever holds this catalogue sees them."""
        self.entities, self.sources = other.entities, other.sources
        self.views, self.functions = other.views, other.functions
        self.services = other.services

    def difference(self, other: "Catalogue") -> dict[str, list[str]]:
        """What ``other`` adds, changes and removes, as ``<kind> <name>``."""
        before, after = (_flat(side.describe()) for side in (self, other))
        return {
            "added": sorted(after.keys() - before.keys()),
            "changed": sorted(n for n in after.keys() & before.keys() if after[n] != before[n]),
            "removed": sorted(before.keys() - after.keys()),
        }

    def describe(self) -> dict[str, Any]:
        """Every definition as JSON values, with the fingerprint of each view."""
        return {
            "entities": {
                name: {"keys": dict(entity.keys), "description": entity.description}
                for name, entity in self.entities.items()
            },
            "sources": {
                name: {**describe_source(source), "description": source.description}
                for name, source in self.sources.items()
            },
            "views": {
                name: {
                    **(described := describe_view(view)),
                    "fingerprint": fingerprint(described),
                    "description": view.description,
                    "owner": view.owner,
                }
                for name, view in self.views.items()
            },
            "on_demand": {
                name: describe_on_demand(function) for name, function in self.functions.items()
            },
            "services": {
                name: {
                    "refs": list(service.refs),
                    "fingerprint": self.compile(name).fingerprint,
                    "description": service.description,
                }
                for name, service in self.services.items()
            },
        }


def _flat(described: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{kind} {name}": one for kind, of in described.items() for name, one in of.items()}


def _register(known: dict[str, Any], definition: Any, what: str) -> None:
    present = known.get(definition.name)
    if present is not None and present != definition:
        raise DefinitionError(
            f"{what} {definition.name!r}", "there are two different ones", "Rename one of them"
        )
    known[definition.name] = definition


def _clash(name: str) -> DefinitionError:
    return DefinitionError(
        name, "a view and a request-time function share the name", "Rename one of them"
    )


def load_catalogue(modules: Sequence[str], *, again: bool = False) -> Catalogue:
    """Import modules (dotted names, or paths that end in ``.py``) and collect what they define.

    ``again`` reads modules anew that are imported already.
    """
    kinds = (Entity, Source, FeatureView, WindowView, CalendarWindow, OnDemand, FeatureService)
    found: list[Definition] = [
        value
        for module in modules
        for value in vars(_import(module, again)).values()
        if isinstance(value, kinds)
    ]
    return Catalogue(found)


def _import(name: str, again: bool) -> ModuleType:
    is_file = name.endswith(".py")
    owner = f"{'file' if is_file else 'module'} {name!r}"
    try:
        return _run_file(Path(name)) if is_file else _run_module(name, again)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        wrong = f"it cannot be imported ({error})"
        raise DefinitionError(owner, wrong, "Check feature_modules") from error
    except Exception as error:  # whatever somebody's module raises
        raise DefinitionError(owner, _fault_in(error), "Mend it") from error


def _run_module(name: str, again: bool) -> ModuleType:
    with _looking_in(Path.cwd()):
        if again and name in sys.modules:
            return importlib.reload(sys.modules[name])
        return importlib.import_module(name)


def _run_file(path: Path) -> ModuleType:
    label = f"leadline_features_{path.stem}"
    spec = importlib.util.spec_from_file_location(label, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DefinitionError(f"file {str(path)!r}", "it is not there", "Check feature_modules")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(label)
    sys.modules[label] = module  # inspect.getsource of its functions looks here
    try:
        with _looking_in(path.absolute().parent, Path.cwd()):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[label]
        if before is not None:
            sys.modules[label] = before
        raise
    return module


@contextmanager
def _looking_in(*folders: Path) -> Iterator[None]:
    """Modules are looked for there too, after all that is installed: somebody's own ``redis.py``
    does not take the place of Redis's client."""
    added = [str(folder) for folder in folders if str(folder) not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


def _fault_in(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} is no Python: {error.msg}"
    importing = (__file__, importlib.__file__, "<frozen ")
    own = [at for at in extract_tb(error.__traceback__) if not at.filename.startswith(importing)]
    return f"line {own[0].lineno} raises {type(error).__name__}: {error}"
