"""Labels come late, twice, out of order, before their prediction, or never."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from contracts.labels import EventIn, LabelIn
from kit.clock import FakeClock
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.blocks_sqlite import select
from monitor.adapters.database_sqlite import Database
from monitor.adapters.labels_sqlite import SqliteLabels
from monitor.join_labels import JoinLabels
from monitor.observe import Observe
from tests.monitor.world import MODEL, NOW_US, Producer, inline


@pytest.fixture
def join(database: Database, baselines: RegistryBaselines, clock: FakeClock) -> JoinLabels:
    return JoinLabels(SqliteLabels(database, 1_000_000, 3), baselines, inline, clock)


def at(hour: int) -> datetime:
    return datetime(2013, 12, 2, hour, tzinfo=UTC)


def label(request_id: bytes, value: float | bool | str, hour: int = 5, row: int = 0) -> LabelIn:
    return LabelIn(
        model=MODEL, request_id=request_id.hex(), row=row, label=value, event_time=at(hour)
    )


def stored(database: Database) -> list[float | None]:
    labels = select(database.reader, "b.id > 0", ()).label.tolist()
    return [None if math.isnan(value) else value for value in labels]


async def test_the_same_label_twice_changes_nothing(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    producer.send_rows([2])
    await observe.step()
    first = producer.request_ids[0]
    assert (await join.labels([label(first, True)])).outcomes["joined"] == 1
    assert (await join.labels([label(first, True)])).outcomes["unchanged"] == 1
    assert stored(database) == [1.0, None]


async def test_a_later_truth_revises_and_an_older_one_does_not(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    producer.send_rows([1])
    await observe.step()
    first = producer.request_ids[0]
    await join.labels([label(first, True, 5)])
    assert (await join.labels([label(first, False, 7)])).outcomes["revised"] == 1
    assert (await join.labels([label(first, True, 6)])).outcomes["superseded"] == 1
    assert stored(database) == [0.0]


async def test_a_label_before_its_prediction_waits_for_it(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    batch = producer.batch(2)
    assert (await join.labels([label(producer.request_ids[1], True)])).outcomes["waiting"] == 1
    producer.send(batch)
    await observe.step()
    assert stored(database) == [None, 1.0]
    waiting = database.reader.execute("SELECT count(*) FROM labels WHERE waiting").fetchone()[0]
    assert waiting == 0


async def test_labels_that_wait_are_bounded_and_the_rest_is_refused_aloud(
    join: JoinLabels, database: Database
) -> None:
    found = await join.labels([label(bytes([i]) * 16, True) for i in range(5)])
    assert found.outcomes == {"waiting": 3, "rejected": 2}
    assert found.rejected[0] == {"pointer": "/labels/3", "code": "too-many-waiting"}


async def test_unit_and_time_name_a_prediction_too(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    producer.send(producer.batch(2, units=("N1", "N2")))
    await observe.step()
    by_unit = LabelIn(
        model=MODEL,
        unit="N2",
        predicted_at=datetime.fromtimestamp(NOW_US / 1e6, UTC),
        label=1.0,
        event_time=at(4),
    )
    assert (await join.labels([by_unit])).outcomes["joined"] == 1
    assert (await join.labels([by_unit])).outcomes["unchanged"] == 1
    assert stored(database) == [None, 1.0]


async def test_a_label_by_unit_may_come_first(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    by_unit = LabelIn(
        model=MODEL,
        unit="N2",
        predicted_at=datetime.fromtimestamp(NOW_US / 1e6, UTC),
        label=1.0,
        event_time=at(4),
    )
    assert (await join.labels([by_unit])).outcomes["waiting"] == 1
    producer.send(producer.batch(2, units=("N1", "N2")))
    await observe.step()
    assert stored(database) == [None, 1.0]


async def test_one_label_serves_the_answer_and_its_shadow(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    answered = producer.batch(1)
    producer.send(answered)
    producer.send(replace(answered, version="3", variant="shadow"))
    await observe.step()
    await join.labels([label(producer.request_ids[0], True)])
    assert stored(database) == [1.0, 1.0]


async def test_a_client_may_use_its_own_request_id_before_or_after(
    join: JoinLabels, observe: Observe, producer: Producer, database: Database
) -> None:
    def own(name: str) -> LabelIn:
        return LabelIn(model=MODEL, request_id=name, label=1.0, event_time=at(4))

    assert (await join.labels([own("order-1")])).outcomes["waiting"] == 1
    producer.send(producer.batch(2, client_request_ids=("order-1", "order-2")))
    await observe.step()
    assert stored(database) == [1.0, None]
    assert (await join.labels([own("order-2")])).outcomes["joined"] == 1
    assert stored(database) == [1.0, 1.0]


async def test_a_class_that_the_model_does_not_know_is_rejected_by_position(
    join: JoinLabels, observe: Observe, producer: Producer
) -> None:
    producer.send_rows([2])
    await observe.step()
    found = await join.labels(
        [label(producer.request_ids[0], True), label(producer.request_ids[1], "purple")]
    )
    assert found.outcomes == {"joined": 1, "rejected": 1}
    assert found.rejected == ({"pointer": "/labels/1/label", "code": "unknown-class"},)


async def test_a_business_event_counts_once(join: JoinLabels, database: Database) -> None:
    event = EventIn(
        model=MODEL, name="rebooked", value=120.0, unit="N1", event_id="e1", event_time=at(3)
    )
    assert (await join.events([event, event])).outcomes == {"stored": 1, "unchanged": 1}
    assert (await join.events([event])).outcomes == {"stored": 0, "unchanged": 1}


@pytest.mark.parametrize(("value", "taken"), [(0, True), (1.0, True), (7.5, False), (-1, False)])
async def test_a_number_that_names_no_class_is_rejected_once_the_model_is_known(
    join: JoinLabels, observe: Observe, producer: Producer, value: float, taken: bool
) -> None:
    producer.send_rows([1])
    await observe.step()
    found = await join.labels([label(producer.request_ids[0], value)])
    assert (found.rejected == ()) is taken
    if not taken:
        assert found.rejected[0]["code"] == "unknown-class"


async def test_labels_of_a_model_that_has_served_nothing_wait(join: JoinLabels) -> None:
    assert (await join.labels([label(b"0" * 16, 7.5)])).outcomes["waiting"] == 1
