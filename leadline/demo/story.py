"""The demo's story: version 2 earns its place; a slow and a wrong version do not.

1 December: version 2 computes beside version 1 and answers nobody. In the first quiet days it is no
better, so nothing happens. Then the weather turns, and the evidence of whole days lets it answer
for 5, 20, 50 and 100 % of the planes. Later a slow version is taken back from its first 5 %, and
a wrong one is halted in the shadow. Every decision is the registry's own; this only starts the
rollouts and tells what is decided.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.manifest import Manifest
from leadline.client import Client, ProblemError
from leadline.demo.broken import slowed, wrong
from leadline.demo.flights import DAY_US, DECEMBER_US, HOUR_US
from leadline.demo.replay import iso
from leadline.demo.sample import MODEL
from leadline.publish.bundle import Bundle
from leadline.state import write_private

LOOK_EVERY_S = 1.0
"""How often the decisions are read, in real time."""
_DAY_S = DAY_US // 1_000_000
_GUARDS: list[dict[str, Any]] = [
    {
        "name": "error_rate",
        "kind": "error_rate",
        "margin": 0.25,
        "accept": 1.0,
        "negligible_rate": 0.01,
    },
    {
        "name": "latency",
        "kind": "latency",
        "margin": 0.25,
        "accept": 3.0,
        "negligible_rate": 0.02,
        "slo_ms": 100.0,
        "unit": "ms",
    },
    # The differences between days are a hundred times what independent flights would show, and a
    # month has only thirty days: to rule out a worsening of 0.02 would take until Christmas.
    {"name": "brier", "kind": "brier", "margin": 0.02, "accept": 0.1},
]
_LADDER = (0.05, 0.2, 0.5, 1.0)
GOOD_PLAN: dict[str, Any] = {
    "shadow": {"bake_s": 2 * _DAY_S, "pairs_min": 1000, "blocks_min": 5},
    "steps": [{"weight": weight, "bake_s": _DAY_S, "requests_min": 40} for weight in _LADDER],
    "guards": _GUARDS,
}
HASTY_PLAN: dict[str, Any] = {
    "shadow": None,
    "steps": [{"weight": weight, "bake_s": _DAY_S, "requests_min": 100} for weight in _LADDER],
    "guards": _GUARDS,
}
"""What somebody chooses who is sure of a small change: no shadow."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person does at a moment of the story."""

    name: str
    at_us: int
    do: Callable[[Client], str]
    """Does it and returns the rollout's id."""


def _start(client: Client, version: str, plan: dict[str, Any], reason: str) -> str:
    body = {
        "model": MODEL,
        "version": version,
        "preset": "standard",
        "plan": plan,
        "reason": reason,
    }
    key = {"idempotency-key": f"story-{version}"}
    return str(client.post("/v1/rollouts", body, headers=key)["id"])


def _begin(client: Client) -> str:
    return _start(client, "2", GOOD_PLAN, "It also knows how late flights have been, and weather.")


def _slow(client: Client) -> str:
    version = str(slowed(fetch(client, "2")).send(client)["version"])
    return _start(client, version, HASTY_PLAN, "The same answers from a rewritten graph.")


def _wrong(client: Client) -> str:
    version = str(wrong(fetch(client, "2")).send(client)["version"])
    return _start(client, version, GOOD_PLAN, "Retrained with a new encoding of the label.")


ACTS = (
    Act("version 2 begins to compute beside version 1", DECEMBER_US + HOUR_US, _begin),
    Act("a slow version is published and rolled out in haste", DECEMBER_US + 11 * DAY_US, _slow),
    Act("a wrong version is published and shadows", DECEMBER_US + 13 * DAY_US, _wrong),
)


@dataclass(slots=True)
class Story:
    """Performs the acts as their time comes, one rollout after the other, and tells the decisions.

    What was performed is kept in ``file``, so that a stopped replay goes on with the story.
    """

    client: Client
    file: Path
    tell: Callable[[str], None]
    acts: Sequence[Act] = ACTS
    monotonic_s: Callable[[], float] = time.monotonic
    _rollouts: dict[str, str] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)
    _why: dict[str, str] = field(default_factory=dict)
    _looked_s: float = -LOOK_EVERY_S

    def __post_init__(self) -> None:
        if self.file.exists():
            kept = json.loads(self.file.read_text())
            self._rollouts, self._told = kept["rollouts"], kept["told"]

    def follow(self, now_us: int) -> None:
        """To be called after every step of the replay."""
        if self.monotonic_s() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self.monotonic_s()
        self._tell_decisions()
        for act in self.acts:
            if act.name not in self._rollouts:
                if now_us >= act.at_us:
                    self._perform(act, now_us)
                return

    def end(self) -> None:
        """Tell what is still untold, and who serves now."""
        self._tell_decisions()
        page = self.client.get(f"/v1/models/{MODEL}")
        for version in page["versions"]:
            self.tell(f"version {version['version']} is {version['state']}: {version['reason']}")

    def _perform(self, act: Act, now_us: int) -> None:
        try:
            self._rollouts[act.name] = act.do(self.client)
        except ProblemError as problem:
            if problem.status == 409:  # the rollout before is still under way
                return
            raise
        self._keep()
        self.tell(f"{iso(now_us)}  {act.name}")

    def _tell_decisions(self) -> None:
        for rollout in self._rollouts.values():
            for number, decision in self._untold(rollout):
                self._told[rollout] = number
                # Waiting is told once for each thing that is waited for, not for each count.
                why = f"{decision['kind']} {decision['reason']}"
                if decision["kind"] != "hold" or why != self._why.get(rollout):
                    self.tell(f"{iso(decision['at_us'])}  {decision['sentence']}")
                self._why[rollout] = why
        if self._rollouts:
            self._keep()

    def _untold(self, rollout: str) -> Iterator[tuple[int, dict[str, Any]]]:
        decisions = self.client.get(f"/v1/rollouts/{rollout}/decisions")["decisions"]
        for number, decision in enumerate(decisions, 1):
            if number > self._told.get(rollout, 0):
                yield number, decision

    def _keep(self) -> None:
        write_private(self.file, {"rollouts": self._rollouts, "told": self._told})


def fetch(client: Client, version: str) -> Bundle:
    """A published version with its files, from the registry."""
    manifest = Manifest.model_validate_json(
        client.send("GET", f"/v1/models/{MODEL}/versions/{version}/manifest").content
    )
    files = {
        entry.path: client.send("GET", f"/v1/artifacts/{entry.sha256}").content
        for entry in manifest.files
    }
    return Bundle(manifest, files)
