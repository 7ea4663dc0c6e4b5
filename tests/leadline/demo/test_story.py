from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.clock import write_clock
from leadline.client import Client
from leadline.demo.flights import DAY_US, DECEMBER_US
from leadline.demo.story import ACTS, GOOD_PLAN, HASTY_PLAN, Act, Story, _start
from registry.domain.plan import preset_plan
from tests.leadline.fake_gateway import FakeGateway, fake_gateway

FIRST = Act("the first", DECEMBER_US, lambda client: _start(client, "2", {}, "a reason"))
SECOND = Act("the second", DECEMBER_US + DAY_US, lambda client: _start(client, "3", {}, "another"))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    write_clock(tmp_path / "clock", DECEMBER_US)
    with fake_gateway(tmp_path / "clock") as listening:
        listening.says["/v1/rollouts"] = {"id": "ro-1"}
        listening.says["/v1/rollouts/ro-1/decisions"] = {"decisions": []}
        yield listening


class Stage:
    """A story with a watch that moves by itself, and what it told."""

    def __init__(self, gateway: FakeGateway, folder: Path) -> None:
        self.told: list[str] = []
        self._seconds = 0.0
        self.client = Client(gateway.url, "admin")
        self.story = Story(
            self.client, folder / "story.json", self.told.append, (FIRST, SECOND), self._tick
        )

    def _tick(self) -> float:
        self._seconds += 1.0
        return self._seconds


@pytest.fixture
def stage(gateway: FakeGateway, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(gateway, tmp_path)
    with made.client:
        yield made


def _decision(kind: str, reason: str, sentence: str) -> dict[str, Any]:
    return {"at_us": DECEMBER_US, "kind": kind, "reason": reason, "sentence": sentence}


def test_an_act_waits_for_its_time_and_is_performed_once(
    gateway: FakeGateway, stage: Stage
) -> None:
    stage.story.follow(DECEMBER_US - 1)
    assert not gateway.of("/v1/rollouts")
    stage.story.follow(DECEMBER_US)
    stage.story.follow(DECEMBER_US + 1)
    started = [one for one in gateway.seen if one.path == "/v1/rollouts"]
    assert [one.body["version"] for one in started] == ["2"]
    assert stage.told == ["2013-12-01T00:00:00Z  the first"]


def test_an_act_waits_while_the_rollout_before_is_under_way(
    gateway: FakeGateway, stage: Stage
) -> None:
    stage.story.follow(DECEMBER_US)
    gateway.busy.add("/v1/rollouts")
    stage.story.follow(DECEMBER_US + DAY_US)
    assert len(stage.told) == 1
    gateway.busy.clear()
    gateway.says["/v1/rollouts"] = {"id": "ro-2"}
    gateway.says["/v1/rollouts/ro-2/decisions"] = {"decisions": []}
    stage.story.follow(DECEMBER_US + DAY_US)
    assert stage.told[-1].endswith("the second")


def test_decisions_are_told_once_and_waiting_once_for_each_reason(
    gateway: FakeGateway, stage: Stage
) -> None:
    stage.story.follow(DECEMBER_US)
    decisions = [
        _decision("hold", "bake", "Held: 2 days left."),
        _decision("hold", "bake", "Held: 1 day left."),
        _decision("hold", "blocks", "Held: 1 of 5 days."),
        _decision("promote", "passed", "Promoted to 5 %."),
        _decision("promote", "passed", "Promoted to 20 %."),
    ]
    for known in range(1, len(decisions) + 1):
        gateway.says["/v1/rollouts/ro-1/decisions"] = {"decisions": decisions[:known]}
        stage.story.follow(DECEMBER_US + 1)
    said = [line.partition("Z  ")[2] for line in stage.told[1:]]
    assert said == [
        "Held: 2 days left.",
        "Held: 1 of 5 days.",
        "Promoted to 5 %.",
        "Promoted to 20 %.",
    ]


def test_a_story_that_was_stopped_neither_repeats_itself_nor_its_acts(
    gateway: FakeGateway, stage: Stage, tmp_path: Path
) -> None:
    gateway.says["/v1/rollouts/ro-1/decisions"] = {"decisions": [_decision("hold", "bake", "H.")]}
    stage.story.follow(DECEMBER_US)
    stage.story.follow(DECEMBER_US + 1)
    again = Stage(gateway, tmp_path)
    with again.client:
        again.story.follow(DECEMBER_US + 2)
    assert again.told == []


@pytest.mark.parametrize("plan", [GOOD_PLAN, HASTY_PLAN])
def test_the_plans_are_plans_that_the_registry_takes(plan: dict[str, Any]) -> None:
    made = preset_plan("standard", "classification", **plan)
    assert [guard.name for guard in made.guards] == ["error_rate", "latency", "brier"]
    assert (made.shadow is None) == (plan is HASTY_PLAN)


def test_the_acts_come_in_order() -> None:
    assert [act.at_us for act in ACTS] == sorted(act.at_us for act in ACTS)
