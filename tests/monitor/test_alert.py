"""What is told reaches everyone it is meant for, once."""

from dataclasses import replace

import numpy as np

from monitor.alert import PAUSE_S_MAX, TellPeople
from monitor.domain.alerts import Sighting, Subject
from monitor.ports import Notice
from tests.monitor.office import DAY_US, FakeBoard, FakeSink, Office
from tests.monitor.world import HOUR_US, MODEL, NOW_US, inline


async def test_a_sink_that_was_away_gets_the_message_later(office: Office) -> None:
    office.sink.away = True
    batch = office.producer.batch(300, NOW_US + 60_000_000)
    office.producer.send(replace(batch, score=np.full(300, 0.25)))
    office.clock.advance_us(HOUR_US)
    await office.observe.step()
    await office.jobs()
    assert office.sink.taken == []
    for _ in range(12 * 60):
        office.clock.advance_us(int(PAUSE_S_MAX * 1e6))
        await office.alert.deliver()
    office.sink.away = False
    await office.alert.deliver()
    assert office.sink.taken == []  # it is left alone between two tries
    office.clock.advance_us(int(PAUSE_S_MAX * 1e6))
    await office.alert.deliver()
    assert len([n for n in office.sink.taken if n.severity == "page"]) == 1


async def test_a_sink_that_is_away_or_refuses_keeps_nothing_from_the_others(office: Office) -> None:
    away, refusing, well = FakeSink("away", away=True), FakeSink("refusing"), FakeSink("well")
    refusing.refused.add("0")
    alert = TellPeople(office.verdicts, [away, refusing, well], inline, office.clock, 10)
    notices = [Notice(str(i), "", "ticket", "firing", "delay", ()) for i in range(120)]
    office.verdicts.post(notices, ["away", "refusing", "well"], 0)
    for _ in range(4):
        await alert.deliver()
        office.clock.advance_us(2_000_000)
    assert away.taken == []
    assert [n.title for n in well.taken] == [n.title for n in notices]
    assert [n.title for n in refusing.taken] == [n.title for n in notices[1:]]


async def test_a_board_hears_of_what_was_told_until_it_ends(office: Office) -> None:
    board = FakeBoard()
    for number in range(3):
        await office.day(number)
        await office.alert.restate(board)
    assert board.said == []
    for number in range(3, 6):
        await office.day(number, shift=0.6)
    await office.alert.restate(board)
    told = next(n for n in office.sink.taken if n.severity == "ticket")
    drift = next(a for a in told.alerts if a["feature"] == "distance")
    assert {a["fingerprint"] for a in told.alerts} <= set(board.said[-1])
    until_us = office.clock.now_us() + DAY_US
    await office.alert.silence(drift["fingerprint"], until_us, "known")
    await office.alert.restate(board)
    assert drift["fingerprint"] not in board.said[-1]


async def test_a_board_hears_nothing_of_tickets_beyond_the_days_budget(office: Office) -> None:
    board, alert = FakeBoard(), TellPeople(office.verdicts, [office.sink], inline, office.clock, 0)
    now_us = office.clock.now_us()
    subjects = [Subject("a", "drift", feature=name) for name in "xy"]
    for subject in subjects:  # the first beyond the budget says that there are more
        with office.verdicts.transaction():
            alert.take([Sighting(subject, "ticket", 2.0, "", now_us, HOUR_US)], now_us)
    await alert.restate(board)
    assert board.said == [[subjects[0].fingerprint]]


async def test_a_board_hears_no_more_of_what_nothing_was_seen_of_for_days(office: Office) -> None:
    board, now_us = FakeBoard(), office.clock.now_us()
    subject = Subject("retired", "stuck", "1")
    for days, seen in (
        (0, [Sighting(subject, "page", 2.0, "", now_us, HOUR_US)]),
        (2, []),
        (3, []),
    ):
        with office.verdicts.transaction():
            office.alert.take(seen, now_us + days * DAY_US)
        await office.alert.restate(board)
    assert board.said == [[subject.fingerprint], [subject.fingerprint]]
    (listed,) = await office.alert.listed("retired", everything=False)
    assert listed["state"] == "STALE"


async def test_an_acknowledged_alert_is_shown_as_such(office: Office) -> None:
    batch = office.producer.batch(300, NOW_US + 60_000_000)
    office.producer.send(replace(batch, score=np.full(300, 0.25)))
    office.clock.advance_us(HOUR_US)
    await office.observe.step()
    await office.jobs()
    listed = await office.alert.listed(MODEL, everything=False)
    stuck = next(alert for alert in listed if alert["kind"] == "stuck")
    assert stuck["state"] == "FIRING"
    acked = await office.alert.acknowledge(stuck["fingerprint"], "ada")
    assert (acked["state"], acked["acked_by"]) == ("ACKED", "ada")
