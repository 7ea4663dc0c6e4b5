from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pytest

from kit.clock import FileClock, write_clock
from leadline.demo.flights import DECEMBER_US, HOUR_US, arrivals, asks, between, departures
from leadline.demo.journal import Journal
from leadline.demo.replay import Endpoint, Progress, Replay, Stream, iso, run
from leadline.demo.wire import Wires
from tests.leadline.fake_gateway import FakeGateway, Seen, fake_gateway

NOON = DECEMBER_US + 12 * HOUR_US


@pytest.fixture
def clock_file(tmp_path: Path) -> Path:
    file = tmp_path / "clock"
    write_clock(file, DECEMBER_US)
    return file


@pytest.fixture
def gateway(clock_file: Path) -> Iterator[FakeGateway]:
    with fake_gateway(clock_file) as listening:
        yield listening


@contextmanager
def _replaying(gateway: FakeGateway) -> Iterator[Replay]:
    file = gateway.clock_file
    endpoint = Endpoint(gateway.url, "admin", "demo", file)
    wires = Wires(gateway.url, connections=3)
    with Journal(file.parent / "replay.sqlite") as journal:
        at_us = journal.position() or FileClock(file).now_us()
        try:
            yield Replay(endpoint, wires, journal, at_us, sleep_s=lambda _: None)
        finally:
            wires.close()


def _run(gateway: FakeGateway, until_us: int = NOON, steps: int = 10_000) -> list[Progress]:
    shown: list[Progress] = []
    with _replaying(gateway) as replay:
        run(replay, until_us, rate=None, show=shown.append, stopped=lambda: len(shown) >= steps)
    return shown


def test_every_flight_is_asked_about_once_one_hour_before_it_leaves(gateway: FakeGateway) -> None:
    _run(gateway)
    asked = gateway.of("/predict")
    expected = between(asks(), "asked_at", DECEMBER_US + 1, NOON + 1)
    assert len(asked) == len(expected) > 200
    for one in asked:
        (instance,) = one.body["instances"]
        assert instance["scheduled_departure"] == iso(one.now_us + HOUR_US)
        assert one.key == "demo"


def test_what_became_known_is_pushed_before_anything_later_is_asked(gateway: FakeGateway) -> None:
    _run(gateway)
    known = 0
    everything = np.sort(
        np.concatenate(
            [
                Stream(between(table, "event_time", DECEMBER_US + 1, NOON + 1), "event_time").at_us
                for table in (arrivals(), departures())
            ]
        )
    )
    for one in gateway.seen:
        if one.path.startswith("/v1/features/push") and one.body["source"] != "weather":
            known += len(one.body["rows"])
            assert all(row["event_time"] <= iso(one.now_us) for row in one.body["rows"])
        if one.path == "/predict":
            assert known == np.searchsorted(everything, one.now_us, "right")
    assert known == len(everything)


def test_a_label_comes_when_the_flight_has_landed_and_names_the_answer(
    gateway: FakeGateway,
) -> None:
    _run(gateway)
    answers = {f"r{number}" for number, one in enumerate(gateway.seen, 1) if one.path == "/predict"}
    labels = [(one, label) for one in gateway.of("/v1/labels") for label in one.body["labels"]]
    assert len(labels) > 50
    for one, label in labels:
        assert label["request_id"] in answers
        assert label["event_time"] <= iso(one.now_us)
    assert len({label["request_id"] for _, label in labels}) == len(labels)


def test_a_replay_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seen: list[list[tuple[str, object]]] = []
    for folder, cuts in ((whole, [10_000]), (parts, [7, 60, 10_000])):
        folder.mkdir()
        write_clock(folder / "clock", DECEMBER_US)
        with fake_gateway(folder / "clock") as gateway:
            for steps in cuts:
                last = _run(gateway, steps=steps)[-1]
            seen.append(sorted((one.path, str(_plain(one))) for one in gateway.seen))
            seen[-1].append(("tally", str(last.tally)))
    assert seen[0] == seen[1]


def _plain(seen: Seen) -> object:
    """A request without the ids that only its server run knows."""
    if "labels" in seen.body:
        return [(label["event_time"], label["label"]) for label in seen.body["labels"]]
    return seen.body


def test_a_feature_store_that_restarts_is_waited_for_and_nothing_is_lost(
    gateway: FakeGateway,
) -> None:
    gateway.refuse["/v1/features/push"] = [503, 503, 503]
    _run(gateway, DECEMBER_US + HOUR_US)
    pushed = sum(len(one.body["rows"]) for one in gateway.of("/v1/features/push?wait=applied"))
    events = [arrivals(), departures()]
    end_us = DECEMBER_US + HOUR_US + 1
    known = sum(len(between(t, "event_time", DECEMBER_US + 1, end_us)) for t in events)
    weather_rows = 3
    assert pushed == known + weather_rows


def test_a_refused_push_stops_the_replay_where_it_stands(gateway: FakeGateway) -> None:
    gateway.refuse["/v1/features/push"] = [400]
    with pytest.raises(click.ClickException, match="was refused: HTTP 400, not now"):
        _run(gateway)
    _run(gateway, DECEMBER_US + HOUR_US)
    assert gateway.of("/v1/features/push")


def test_an_answer_that_fails_is_counted_and_gets_no_label(gateway: FakeGateway) -> None:
    gateway.refuse["/predict"] = [500] * 5
    last = _run(gateway)[-1]
    assert last.tally.errors == 5
    assert "HTTP 500" in last.tally.first_error
    assert last.tally.asked == len(gateway.of("/predict")) + 5


def test_the_speed_is_kept_by_waiting_for_the_next_minute(gateway: FakeGateway) -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    with _replaying(gateway) as replay:
        replay.sleep_s = sleep
        until = DECEMBER_US + 2 * HOUR_US
        run(
            replay,
            until,
            rate=3600.0,
            show=lambda _: None,
            stopped=lambda: False,
            monotonic_s=lambda: now[0],
        )
    assert sum(slept) == pytest.approx(2.0)


def test_skipping_delivers_what_became_known_and_asks_nothing(gateway: FakeGateway) -> None:
    with _replaying(gateway) as replay:
        replay.skip_to(NOON)
        with pytest.raises(click.ClickException, match="already"):
            replay.skip_to(DECEMBER_US)
    assert not gateway.of("/predict")
    rows = sum(len(one.body["rows"]) for one in gateway.of("/v1/features/push"))
    assert rows > len(between(arrivals(), "event_time", DECEMBER_US + 1, NOON + 1))
