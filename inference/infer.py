"""Answers the Open Inference Protocol V2 (REST), over HTTP and over frames alike."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson

from contracts.frames import Answer
from contracts.served import OUTCOMES
from inference.domain.asked import Arrival
from inference.domain.encodings import ENCODINGS, NotEncoded, TooLong, deflated, inflated
from inference.domain.fleet import Computed, Fleet, LoadedVersion, ServedModel
from inference.domain.open_inference import (
    HEADER_LENGTH,
    InferRequest,
    config_of,
    format_infer,
    metadata_of,
    parse_infer,
)
from inference.domain.served import RawServed
from inference.domain.statistics import statistics_of
from inference.domain.tensors import TensorRefused
from kit.clock import Clock
from kit.logs import get_logger
from kit.tasks import TaskOwner

_log = get_logger(__name__)
BODY_BYTES_MAX = 64 * 1024 * 1024
_MODEL_PATH = re.compile(
    r"^/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
    r"(?:/(?P<verb>infer|ready|config|stats))?$"
)
_EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "statistics"]


class Refused(Exception):
    """The call cannot be answered: a status and a text for the caller."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call, from wherever it came. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    request_id: bytes
    deadline_ns: int


class Infer:
    """The verb: errors are ``{"error": text}``, success is exactly 200."""

    def __init__(
        self,
        *,
        fleet: Callable[[], Fleet],
        record: Callable[[RawServed], None],
        clock: Clock,
        tasks: TaskOwner,
        ready: Callable[[], list[str]],
        server_version: str,
    ) -> None:
        self._fleet = fleet
        self._record = record
        self._clock = clock
        self._tasks = tasks
        self._ready = ready
        self._server_version = server_version

    def submit(self, arrivals: Sequence[Arrival]) -> None:
        """Answer INFER asks that came over frames, each for itself; runs share batches."""
        for arrival in arrivals:
            self._tasks.start("infer", partial(self._answer, arrival))

    async def _answer(self, arrival: Arrival) -> None:
        ask = arrival.ask
        method, _, target = ask.target.partition(" ")
        lines = ask.headers.decode("latin-1").splitlines()
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        path = target.partition("?")[0]
        call = Call(method, path, headers, ask.body, ask.request_id, arrival.deadline_ns)
        answer = await self.handle(call)
        if arrival.wanted:
            arrival.wanted = False
            arrival.reply(answer)

    async def handle(self, call: Call) -> Answer:
        """Answer any call below ``/v2``."""
        try:
            return await self._handle(call)
        except Refused as refused:
            return _json(refused.status, {"error": refused.text})
        except TensorRefused as refused:
            return _json(400, {"error": str(refused)})
        except Exception:  # noqa: BLE001 - the edge that answers
            _log.exception("infer_failed")
            return _json(500, {"error": "the service failed"})

    async def _handle(self, call: Call) -> Answer:
        found = _MODEL_PATH.match(call.path)
        if found is None or call.path == "/v2/models/stats":
            return self._of_server(call)
        fleet = self._fleet()
        model, version, verb = found["model"], found["version"], found["verb"]
        if verb == "infer":
            _require(call, "POST")
            return await self._infer(call, fleet, model, version)
        _require(call, "GET")
        loaded = self._named(fleet, model, version)
        if verb == "ready":
            return _json(200, {"name": model, "ready": True})
        if verb == "config":
            rows_max = loaded.manifest.rows_per_batch_max
            return _json(200, config_of(model, *_specs(loaded), rows_max))
        if verb == "stats":
            wanted = [loaded] if version else _versions(fleet, model)
            return _json(200, {"model_stats": [statistics_of(one) for one in wanted]})
        versions = [one.version for one in _versions(fleet, model)]
        return _json(200, metadata_of(model, versions, *_specs(loaded)))

    def _of_server(self, call: Call) -> Answer:
        path, fleet = call.path.rstrip("/"), self._fleet()
        if path == "/v2/repository/index":
            _require(call, "POST")
            return _json(200, [_indexed(one) for one in fleet.versions.values()])
        answers: dict[str, Callable[[], Answer]] = {
            "/v2": self._server,
            "/v2/health/live": lambda: _json(200, {"live": True}),
            "/v2/health/ready": self._readiness,
            "/v2/models/stats": lambda: _json(
                200, {"model_stats": [statistics_of(one) for one in fleet.versions.values()]}
            ),
        }
        if path not in answers:
            raise Refused(404, "there is no such path")
        _require(call, "GET")
        return answers[path]()

    def _server(self) -> Answer:
        about = {"name": "leadline", "version": self._server_version, "extensions": _EXTENSIONS}
        return _json(200, about)

    def _readiness(self) -> Answer:
        ready = not self._ready()
        return _json(200 if ready else 503, {"live": True, "ready": ready})

    @staticmethod
    def _named(fleet: Fleet, model: str, version: str | None) -> LoadedVersion:
        served = fleet.models.get(model)
        loaded = fleet.versions.get((model, version)) if version else None
        if version is None and served is not None:
            loaded = served.loaded[0]
        if loaded is None:
            what = f"model '{model[:100]}'" + (f" version '{version[:100]}'" if version else "")
            raise Refused(404, f"{what} is not served")
        return loaded

    async def _infer(self, call: Call, fleet: Fleet, model: str, version: str | None) -> Answer:
        loaded = self._named(fleet, model, version)
        began_ns = self._clock.monotonic_ns()
        request = parse_infer(_decoded(call), _header_length(call), loaded.engine.inputs)
        if version is None:
            loaded = _routed(fleet.models[model], request, call)
        loaded.in_use += 1
        try:
            computed = await self._compute(loaded, request, call)
        finally:
            loaded.in_use -= 1
        parsed_ns = self._clock.monotonic_ns() - began_ns - computed.compute_ns - computed.queue_ns
        loaded.tally.raw_parse_ns += max(parsed_ns, 0)
        self._count(loaded, fleet, call, request, computed)
        if computed.outcome.any():
            raise _failure(OUTCOMES[int(computed.outcome.max())])
        formatting_ns = self._clock.monotonic_ns()
        labels = loaded.manifest.post_processing.labels
        body, header_length = format_infer(
            model, loaded.version, request, loaded.engine.outputs, computed.outputs, labels
        )
        loaded.tally.raw_format_ns += self._clock.monotonic_ns() - formatting_ns
        return _encoded(call, body, header_length)

    @staticmethod
    async def _compute(loaded: LoadedVersion, request: InferRequest, call: Call) -> Computed:
        firsts = {tensor.shape[:1] for tensor in request.inputs.values()}
        empty = not all(tensor.size for tensor in request.inputs.values())
        alone = empty or len(firsts) != 1 or firsts == {()}
        rows = 1 if alone else next(iter(firsts))[0]
        deadlines_ns = np.full(rows, call.deadline_ns, np.int64)
        return await loaded.engine.compute(request.inputs, rows, deadlines_ns, alone=alone)

    def _count(
        self,
        loaded: LoadedVersion,
        fleet: Fleet,
        call: Call,
        request: InferRequest,
        computed: Computed,
    ) -> None:
        tally, outcome = loaded.tally, computed.outcome
        tally.outcomes(outcome)
        tally.batch_rows.observe(len(outcome))
        tally.request("invalid-input" if outcome.any() else "ok")
        tally.stages["queue"].observe(computed.queue_ns / 1e9)
        tally.stages["compute"].observe(computed.compute_ns / 1e9)
        tally.last_inference_us = self._clock.wall_us()
        served = RawServed(
            loaded=loaded,
            route=fleet.models.get(loaded.model),
            epoch=fleet.epoch,
            request_id=call.request_id,
            unit=request.unit or call.request_id.hex(),
            now_us=self._clock.now_us(),
            work_us=computed.compute_ns // 1000,
            computed=computed,
        )
        self._record(served)


def _failure(outcome: str) -> Refused:
    if outcome == "deadline":
        return Refused(503, "the deadline passed before the model computed")
    return Refused(400, "the model cannot compute this input")


def _require(call: Call, method: str) -> None:
    if call.method != method:
        raise Refused(405, f"use {method}")


def _specs(loaded: LoadedVersion) -> tuple[Any, Any]:
    return loaded.engine.inputs, loaded.engine.outputs


def _versions(fleet: Fleet, model: str) -> list[LoadedVersion]:
    return [one for (name, _), one in fleet.versions.items() if name == model]


def _indexed(loaded: LoadedVersion) -> dict[str, str]:
    return {"name": loaded.model, "version": loaded.version, "state": "READY", "reason": ""}


def _routed(model: ServedModel, request: InferRequest, call: Call) -> LoadedVersion:
    """The version that answers: sticky by the unit the caller names, else by its request."""
    unit = request.unit or request.id or call.request_id.hex()
    return model.loaded[model.split.arm_of(unit)]


def _header_length(call: Call) -> int | None:
    value = call.headers.get(HEADER_LENGTH)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 10:
        raise Refused(400, f"{HEADER_LENGTH} must be a number of bytes")
    return int(value)


def _decoded(call: Call) -> bytes:
    encoding = call.headers.get("content-encoding", "identity").lower()
    if encoding in ("identity", ""):
        return call.body
    if encoding not in ENCODINGS:
        raise Refused(415, "content-encoding must be gzip or deflate")
    try:
        return inflated(call.body, BODY_BYTES_MAX)
    except TooLong as wrong:
        raise Refused(413, str(wrong)) from wrong
    except NotEncoded as wrong:
        raise Refused(400, str(wrong)) from wrong


def _json(status: int, content: Any) -> Answer:
    headers = b"content-type: application/json"
    if status == 503:
        headers += b"\nretry-after: 1"
    return Answer(status, orjson.dumps(content), False, headers)


def _encoded(call: Call, body: bytes, header_length: int | None) -> Answer:
    """With binary data: octets and the header's length. Compressed only for a caller that accepts
    exactly one encoding: that is how the protocol's clients ask for it."""
    headers = ["content-type: application/json"]
    if header_length is not None:
        headers = ["content-type: application/octet-stream", f"{HEADER_LENGTH}: {header_length}"]
    accepted = call.headers.get("accept-encoding", "").strip().lower()
    if accepted in ENCODINGS:
        body = deflated(body, accepted)
        headers.append(f"content-encoding: {accepted}")
    return Answer(200, body, False, "\n".join(headers).encode())
