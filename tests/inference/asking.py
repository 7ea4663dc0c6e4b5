"""Calls of the Open Inference Protocol, and the verb that answers them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from contracts.frames import Answer, Ask
from contracts.routing import Arm, ModelRoute, RoutingTable
from inference.describe import Describe
from inference.domain.asked import Arrival
from inference.domain.fleet import Fleet, fleet_of
from inference.domain.raw_call import Call
from inference.infer import Infer
from inference.record import Record
from tests.inference.parts import House
from tests.inference.raw_models import (
    centred_model,
    constant_model,
    echo_model,
    gather_model,
    product_model,
    raw_manifest,
    table_model,
    total_model,
)
from tests.polling import until


class Asking:
    """The verb with models without features, and a model with features."""

    def __init__(self, inline_us_max: int = 1_000_000) -> None:
        self.house = House(inline_us_max=inline_us_max)
        house = self.house
        house.reader.values = {"a": [1.0] * 10}
        models = {
            "centred": centred_model(),
            "constant": constant_model(),
            "echo": echo_model(),
            "gather": gather_model(),
            "product": product_model(),
            "table": table_model(),
            "total": total_model(),
        }
        versions = {
            (name, "1"): house.builder.build(
                raw_manifest(content, name), "1", {"model.onnx": content}
            )
            for name, content in models.items()
        }
        versions["risk", "1"] = house.load()
        routes = {
            name: ModelRoute(arms=(Arm(version="1", variant="production", weight=1.0),))
            for name, _ in versions
        }
        self.fleet = fleet_of(RoutingTable(epoch=1, models=routes), versions, Fleet())
        self.infer = Infer(
            fleet=lambda: self.fleet,
            record=Record(house.spool).raw,
            describe=Describe(fleet=lambda: self.fleet, ready=list, server_version="9"),
            paces=house.paces,
            clock=house.clock,
            tasks=house.tasks,
            rows_in_flight_max=10_000,
        )

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        deadline_ns = self.house.clock.monotonic_ns() + 10**9
        return await self.infer.handle(Call(method, path, named, body, b"r" * 16, deadline_ns))

    async def turn(self, calls: Sequence[tuple[str, bytes, bytes]]) -> list[Answer]:
        """Answers to (path, headers, body) that come over frames in one turn, in their order."""
        arrivals, answers = self.arrivals(calls)
        self.infer.submit(arrivals)
        await until(lambda: len(answers) == len(calls))
        assert all(not loaded.in_use for loaded in self.fleet.versions.values())
        assert self.house.paces.pending == 0
        return [answers[index] for index in range(len(calls))]

    def arrivals(
        self, calls: Sequence[tuple[str, bytes, bytes]], remaining_ms: int = 1_000
    ) -> tuple[list[Arrival], dict[int, Answer]]:
        """The same, on their way, and where their answers will be."""
        answers: dict[int, Answer] = {}
        now_ns = self.house.clock.monotonic_ns()

        def keep(index: int, answer: Answer) -> None:
            assert index not in answers, "answered twice"
            answers[index] = answer

        return [
            Arrival(
                Ask(
                    remaining_ms, index.to_bytes(16, "big"), f"POST {path}", "ann", "", lines, body
                ),
                now_ns,
                partial(keep, index),
            )
            for index, (path, lines, body) in enumerate(calls)
        ], answers

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.call("GET", path)
        return answer.status, orjson.loads(answer.body)

    async def post(self, path: str, content: Any, **headers: str) -> tuple[int, Any]:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        answer = await self.call("POST", path, body, **headers)
        return answer.status, orjson.loads(answer.body)
