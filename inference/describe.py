"""Says what is served: the calls of the Open Inference Protocol V2 that compute nothing."""

from collections.abc import Callable
from typing import Any

from contracts.frames import Answer
from inference.domain.fleet import Fleet, LoadedVersion
from inference.domain.open_inference import config_of, metadata_of
from inference.domain.raw_call import Call, ModelPath, Refused, json_answer, model_path, not_served
from inference.domain.statistics import statistics_of

_EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "statistics"]


class Describe:
    """The verb: of the server, of a model, of a version."""

    def __init__(
        self,
        *,
        fleet: Callable[[], Fleet],
        ready: Callable[[], list[str]],
        server_version: str,
    ) -> None:
        self._fleet = fleet
        self._ready = ready
        self._server_version = server_version

    def __call__(self, call: Call) -> Answer:
        """Raises ``Refused``."""
        named = model_path(call.path)
        if named is None:
            return self._server(call)
        call.require("GET")
        return self._model(named)

    def _model(self, named: ModelPath) -> Answer:
        model, version, verb = named
        fleet = self._fleet()
        loaded = fleet.named(model, version)
        if loaded is None:
            raise not_served(model, version)
        if verb == "ready":
            return json_answer(200, {"name": model, "ready": True})
        if verb == "config":
            rows_max = loaded.manifest.rows_per_batch_max if loaded.engine.batchable else 0
            return json_answer(200, config_of(model, *_specs(loaded), rows_max))
        if verb == "stats":
            wanted = [loaded] if version else _versions(fleet, model)
            return json_answer(200, {"model_stats": [statistics_of(one) for one in wanted]})
        versions = [one.version for one in _versions(fleet, model)]
        return json_answer(200, metadata_of(model, versions, *_specs(loaded)))

    def _server(self, call: Call) -> Answer:
        path, versions = call.path.rstrip("/"), self._fleet().versions.values()
        if path == "/v2/repository/index":
            call.require("POST")
            return json_answer(200, [_indexed(one) for one in versions])
        answers: dict[str, Callable[[], Answer]] = {
            "/v2": self._about,
            "/v2/health/live": lambda: json_answer(200, {"live": True}),
            "/v2/health/ready": self._readiness,
            "/v2/models/stats": lambda: json_answer(
                200, {"model_stats": [statistics_of(one) for one in versions]}
            ),
        }
        if path not in answers:
            raise Refused(404, "there is no such path")
        call.require("GET")
        return answers[path]()

    def _about(self) -> Answer:
        about = {"name": "leadline", "version": self._server_version, "extensions": _EXTENSIONS}
        return json_answer(200, about)

    def _readiness(self) -> Answer:
        ready = not self._ready()
        return json_answer(200 if ready else 503, {"live": True, "ready": ready})


def _specs(loaded: LoadedVersion) -> tuple[Any, Any]:
    return loaded.engine.inputs, loaded.engine.outputs


def _versions(fleet: Fleet, model: str) -> list[LoadedVersion]:
    return [one for (name, _), one in fleet.versions.items() if name == model]


def _indexed(loaded: LoadedVersion) -> dict[str, str]:
    return {"name": loaded.model, "version": loaded.version, "state": "READY", "reason": ""}
