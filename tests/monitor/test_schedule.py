"""Business time drives the jobs: every window once, in order, whatever happens in between."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from prometheus_client import Gauge

from kit.clock import FakeClock
from kit.telemetry import REGISTRY
from monitor import metrics
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.domain.alerts import CLEAN_WINDOWS
from monitor.domain.when import Window
from monitor.observe import Observe
from monitor.ports import Notice
from monitor.schedule import LOSS_IS_NEWS_MIN
from tests.monitor.office import DAY_US, Office, make_office
from tests.monitor.world import HOUR_US, MODEL, NOW_US, Producer


def titles(notices: Sequence[Notice], severity: str) -> list[str]:
    return [notice.title for notice in notices if notice.severity == severity]


async def test_every_hour_day_and_week_is_judged_once_and_in_order(office: Office) -> None:
    for number in range(8):
        await office.day(number)
    assert office.done("day") == [NOW_US + (i + 1) * DAY_US for i in range(8)]
    assert office.done("week") == [NOW_US + 7 * DAY_US]
    hours = office.done("hour")
    assert len(hours) == len(set(hours)) == 8 * 24 - 1


async def test_missed_windows_are_caught_up_after_a_stop(
    office: Office, observe: Observe, database: Database, history: SqliteHistory,
    baselines: RegistryBaselines, stream: RedisStream, clock: FakeClock, producer: Producer,
    parts: ParquetParts,
) -> None:  # fmt: skip
    await office.day(0)
    clock.advance_us(3 * DAY_US)
    restarted = make_office(observe, database, history, baselines, stream, clock, producer, parts)
    await restarted.jobs()
    assert restarted.done("day") == [NOW_US + (i + 1) * DAY_US for i in range(4)]


async def test_a_lasting_shift_becomes_one_ticket_with_its_sentence(office: Office) -> None:
    for number in range(3):
        await office.day(number)
    assert titles(office.sink.taken, "ticket") == []
    for number in range(3, 6):
        await office.day(number, shift=0.6)
    tickets = [n for n in office.sink.taken if n.severity == "ticket"]
    assert len(tickets) == 1
    alert = next(a for a in tickets[0].alerts if a["feature"] == "distance")
    assert alert["kind"] == "drift"
    assert "distance 0." in alert["sentence"]
    assert "against a" in alert["sentence"]
    assert alert["evidence"]["distance"] > alert["evidence"]["floor"]
    assert alert["evidence"]["replay"].startswith(f"leadline drift {MODEL} --version 2 --from 2013")
    assert titles(office.sink.taken, "page") == []


async def test_quality_is_told_when_two_of_three_days_break_the_margin(office: Office) -> None:
    for number in range(3):
        await office.day(number, right=0.85)
    assert titles(office.sink.taken, "ticket") == []
    for number in range(3, 6):
        await office.day(number, right=0.3)
    sentences = [
        alert["sentence"]
        for notice in office.sink.taken
        for alert in notice.alerts
        if alert["kind"] == "accuracy"
    ]
    assert len(sentences) == 1
    assert "turned out positive where" in sentences[0]
    assert "labelled predictions" in sentences[0]


async def test_a_day_wholly_below_a_set_floor_pages_and_one_around_it_does_not(
    office: Office,
) -> None:
    await office.day(0, right=0.85)
    for number in range(1, 3):
        await office.day(number, right=0.5)
    assert titles(office.sink.taken, "page") == []
    await office.day(3, right=0.3)
    await office.day(4, right=0.85)
    (page,) = [n for n in office.sink.taken if n.severity == "page"]
    (alert,) = page.alerts
    assert (alert["kind"], alert["feature"], alert["version"]) == ("floor", "accuracy", "2")
    assert "labelled predictions, beyond the floor of 0.5 that was set for it" in page.text
    assert "2013-12-05" in page.text
    assert alert["evidence"]["limit"] == 0.5
    replay = alert["evidence"]["replay"]
    assert replay.startswith(f"leadline quality {MODEL} --version 2 --from 2013-12-05T00:00Z")


async def test_a_column_without_any_value_pages_within_the_hour(office: Office) -> None:
    await office.day(0)
    batch = office.producer.batch(300, NOW_US + DAY_US + 60_000_000)
    batch.numbers["late_7d"][:] = np.nan
    batch.statuses["late_7d"][:] = 2
    office.producer.send(batch)
    office.clock.advance_us(HOUR_US + 10_000_000)
    await office.observe.step()
    await office.jobs()
    pages = [n for n in office.sink.taken if n.severity == "page"]
    assert [alert["kind"] for alert in pages[0].alerts] == ["schema"]
    assert "late_7d: none of 300 rows has a usable value" in pages[0].text


async def test_answers_that_are_all_the_same_page(office: Office) -> None:
    batch = office.producer.batch(300, NOW_US + 60_000_000)
    office.producer.send(replace(batch, score=np.full(300, 0.25)))
    office.clock.advance_us(HOUR_US)
    await office.observe.step()
    await office.jobs()
    kinds = {a["kind"] for n in office.sink.taken if n.severity == "page" for a in n.alerts}
    assert kinds == {"stuck"}


async def test_too_few_rows_are_neither_alarm_nor_all_clear(office: Office) -> None:
    office.producer.send(office.producer.batch(50, NOW_US + HOUR_US))
    office.clock.advance_us(DAY_US)
    await office.observe.step()
    await office.jobs()
    run = office.verdicts.runs(MODEL, "day", 1)[0]
    assert run.result["versions"]["2"]["state"] == "INSUFFICIENT_DATA"
    assert office.sink.taken == []


async def test_a_version_that_serves_no_more_is_not_told_of_any_more(office: Office) -> None:
    def told() -> set[str]:
        gauges = [gauge for gauge in vars(metrics).values() if isinstance(gauge, Gauge)]
        return {
            metric.name
            for gauge in gauges
            for metric in gauge.collect()
            for sample in metric.samples
            if sample.labels.get("model") == MODEL
        }

    for number in range(3):
        await office.day(number, right=0.8)
    assert {"monitor_labels_overdue_share", "drift_ks_distance", "quality_value"} <= told()
    sent = len(office.sink.taken)
    for _ in range(3):
        office.clock.advance_us(DAY_US)
        await office.jobs()
    assert told() == set()
    assert len(office.sink.taken) == sent


async def test_lost_records_page_for_some_hours_although_they_never_come(office: Office) -> None:
    await office.observe.step()
    await office.schedule.minute()
    office.producer.send(office.producer.batch(5), 1)
    office.producer.send(office.producer.batch(5), 5)
    await office.observe.step()
    await office.schedule.minute()
    await office.alert.deliver()
    pages = [n for n in office.sink.taken if n.severity == "page"]
    assert pages[0].text == "3 records that producers numbered have not come"
    for _ in range(LOSS_IS_NEWS_MIN - 2):
        await office.schedule.minute()
        await office.alert.deliver()
    assert [n.status for n in office.sink.taken] == ["firing"]
    for _ in range(CLEAN_WINDOWS):
        await office.schedule.minute()
        await office.alert.deliver()
    assert [n.status for n in office.sink.taken] == ["firing", "resolved"]


async def test_where_nobody_sends_labels_none_is_overdue(office: Office) -> None:
    def overdue(version: str = "2") -> float | None:
        labels = {"model": MODEL, "version": version}
        return REGISTRY.get_sample_value("monitor_labels_overdue_share", labels)

    for number in range(3):
        await office.day(number)
    assert overdue() is None
    await office.day(3, right=0.85)
    for number in range(4, 6):
        await office.day(number)
    assert overdue() == 1.0


async def test_a_run_on_demand_is_kept_with_its_result(office: Office) -> None:
    await office.day(0)
    run = await office.schedule.on_demand(MODEL, Window(NOW_US // HOUR_US, NOW_US // HOUR_US + 12))
    assert office.verdicts.run(run.id) == run
    await office.schedule.finish(run)
    done = office.verdicts.run(run.id)
    assert done is not None
    assert done.state == "done"
    assert done.result["versions"]["2"]["rows"] == 300


async def test_columns_that_begin_to_move_together_become_a_ticket_that_names_them(
    office: Office,
) -> None:
    for number in range(3):
        await office.day(number)
    for number in range(3, 6):
        await office.day(number, together=True)
    tickets = [n for n in office.sink.taken if n.severity == "ticket"]
    (alert,) = [a for n in tickets for a in n.alerts if a["kind"] == "joint"]
    assert "distance with late_7d from" in alert["sentence"]
    assert not any(a["kind"] == "drift" for n in tickets for a in n.alerts)


async def test_segments_that_move_while_the_whole_stands_still_have_tickets_of_their_own(
    office: Office,
) -> None:
    for number in range(14):
        await office.day(number, rows=1_100)
    assert titles(office.sink.taken, "ticket") == []
    for number in range(14, 16):
        await office.day(number, rows=1_100, swapped=True)
    alerts = [a for n in office.sink.taken if n.severity == "ticket" for a in n.alerts]
    assert {(a["kind"], a["feature"]) for a in alerts} == {("drift", "distance")}
    assert {a["segment"] for a in alerts} == {"origin=EWR", "origin=JFK", "origin=LGA"}
    assert len({a["fingerprint"] for a in alerts}) == 3
    assert "distance in origin=" in alerts[0]["sentence"]
    assert "--segment origin=" in alerts[0]["evidence"]["replay"]


async def test_a_day_that_people_expect_to_be_different_brings_no_drift_ticket_and_is_forgotten(
    observe: Observe, database: Database, history: SqliteHistory,
    baselines: RegistryBaselines, stream: RedisStream, clock: FakeClock, producer: Producer,
    parts: ParquetParts,
) -> None:  # fmt: skip
    holidays = frozenset({NOW_US // DAY_US + 1, NOW_US // DAY_US + 2})
    office = make_office(
        observe, database, history, baselines, stream, clock, producer, parts, holidays
    )
    await office.day(0)
    for number in (1, 2):
        await office.day(number, shift=1.0)
    for number in (3, 4):
        await office.day(number)
    assert titles(office.sink.taken, "ticket") == []
    runs = {
        run.until_us: run.result["versions"]["2"] for run in office.verdicts.runs(MODEL, "day", 9)
    }
    holiday, after = runs[NOW_US + 2 * DAY_US], runs[NOW_US + 4 * DAY_US]
    assert holiday["columns"]["distance"]["distance"] > 0.3
    assert "people said" in holiday["unlike_other_days"]
    assert after["unlike_other_days"] is None
    assert after["findings"]["distance"]["shape_total"] == 0
    for number in (5, 6):
        await office.day(number, shift=1.0)
    assert titles(office.sink.taken, "ticket")
