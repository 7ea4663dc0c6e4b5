"""An alert that cries wolf is switched off; one that forgets is worse."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.alerts import (
    Alert,
    Severity,
    Sighting,
    Subject,
    age,
    describe,
    inhibit,
    messages,
    move,
    within_budget,
)

DAY = 86_400_000_000
LEVELS = st.lists(st.one_of(st.none(), st.floats(0, 3)), max_size=30)


def seen(
    level: float | None, day: int = 0, kind: str = "drift", feature: str = "x", needed: int = 1,
    windows: int = 1, segment: str = "", severity: Severity = "ticket",
) -> Sighting:  # fmt: skip
    subject = Subject("delay", kind, "2", feature, segment)
    return Sighting(subject, severity, level, f"level {level}", day * DAY, DAY, needed, windows)


def run(*levels: float | None, needed: int = 1, windows: int = 1) -> Alert:
    alert: Alert | None = None
    for day, level in enumerate(levels):
        alert = move(alert, seen(level, day, needed=needed, windows=windows))
    assert alert is not None
    return alert


def test_two_of_three_windows_fire_and_one_only_waits() -> None:
    assert run(1.2, needed=2, windows=3).state == "PENDING"
    assert run(1.2, 0.1, needed=2, windows=3).state == "PENDING"
    assert run(1.2, 0.1, 1.2, needed=2, windows=3).state == "FIRING"
    assert run(1.2, 0.1, 0.1, needed=2, windows=3).state == "OK"


def test_an_alert_recovers_below_seven_tenths_and_not_just_below_its_limit() -> None:
    assert run(1.5, 0.9, 0.9, 0.9).state == "FIRING"
    assert run(1.5, 0.6).state == "RECOVERING"
    assert run(1.5, 0.6, 0.6).state == "OK"
    assert run(1.5, 0.6, 0.9, 0.6).state == "RECOVERING"


def test_too_little_data_neither_fires_nor_clears() -> None:
    assert run(None).state == "OK"
    assert run(None).data == "INSUFFICIENT_DATA"
    assert run(1.5, None, None, None).state == "FIRING"


@given(LEVELS)
@settings(max_examples=60)
def test_nothing_fires_without_a_breach_and_every_breach_is_seen(
    levels: list[float | None],
) -> None:
    alert = run(*levels) if levels else None
    breached = any(level is not None and level >= 1 for level in levels)
    if alert is not None and alert.firing:
        assert breached
    known = [level for level in levels if level is not None]
    if alert is not None and known and known[-1] >= 1:
        assert alert.state == "FIRING"


def test_a_broken_schema_explains_the_nulls_and_the_drift_of_its_column() -> None:
    alerts = [
        move(None, seen(2, kind=kind, feature=feature))
        for kind, feature in (("schema", "x"), ("null", "x"), ("drift", "x"), ("drift", "y"))
    ]
    explained = [bool(alert.inhibited_by) for alert in inhibit(alerts)]
    assert explained == [False, True, True, False]


def test_the_wholes_ticket_hides_that_of_its_segment_and_its_literal_test_does_not() -> None:
    whole, part = move(None, seen(2)), move(None, seen(2, segment="origin=EWR"))
    assert whole.subject.fingerprint != part.subject.fingerprint
    assert [bool(one.inhibited_by) for one in inhibit([whole, part])] == [False, True]
    literal = move(None, seen(2, kind="ks", severity="info"))
    assert [bool(one.inhibited_by) for one in inhibit([literal, part])] == [False, False]
    (told,) = messages([], [part], DAY)
    assert told.title == "delay v2 x origin=EWR: drift firing"


def test_a_log_that_lags_explains_everything_and_one_that_lost_records_nothing() -> None:
    alerts = [move(None, seen(2, kind=kind)) for kind in ("drift", "lag", "lost_data")]
    assert [bool(alert.inhibited_by) for alert in inhibit(alerts)] == [True, False, False]
    assert not any(alert.inhibited_by for alert in inhibit([alerts[0], alerts[2]]))


def test_many_features_at_once_are_one_message() -> None:
    after = [move(None, seen(2, feature=f"f{i}")) for i in range(20)]
    told = messages([], after, DAY)
    assert len(told) == 1
    assert told[0].title == "delay: 20 alerts firing"
    assert told[0].text.endswith("and 12 more")


def test_what_was_told_is_told_again_only_when_it_ends_or_worsens() -> None:
    first = move(None, seen(2))
    assert messages([], [first], DAY)
    second = move(first, seen(2, 1))
    assert messages([first], [second], DAY) == []
    worse = move(second, seen(2, 2, severity="page"))
    assert [m.severity for m in messages([second], [worse], DAY)] == ["page"]
    ended = move(move(worse, seen(0.1, 3)), seen(0.1, 4))
    assert [m.status for m in messages([worse], [ended], DAY)] == ["resolved"]


def test_silenced_alerts_are_kept_and_not_told() -> None:
    alert = replace(move(None, seen(2)), silenced_until_us=5 * DAY)
    assert alert.firing
    assert messages([], [alert], DAY) == []
    assert messages([], [alert], 6 * DAY)


def test_an_alert_that_flaps_is_told_no_more() -> None:
    alert = run(2, 0, 0, 2, 0, 0, 2, 0, 0)
    assert alert.flapping
    turned = move(alert, seen(2, 9))
    assert messages([alert], [turned], DAY) == []


def test_an_alert_that_nothing_is_seen_of_is_stale() -> None:
    assert age(run(2), 3 * DAY).data == "STALE"
    assert age(run(2), DAY).data == "CURRENT"


def test_pages_pass_the_budget_and_tickets_do_not() -> None:
    tickets = [
        message
        for i in range(5)
        for message in messages([], [move(None, seen(2, feature=f"f{i}"))], DAY)
    ]
    pages = messages([], [move(None, seen(2, kind="schema", severity="page"))], DAY)
    kept = within_budget([*tickets, *pages], told_today=1, budget=3)
    assert [m.severity for m in kept] == ["ticket", "ticket", "ticket", "page"]
    assert "not sent" in kept[2].text


def test_a_firing_alert_of_a_version_that_serves_no_more_is_shown_as_stale() -> None:
    assert describe(age(run(2), 3 * DAY), 3 * DAY)["state"] == "STALE"
    assert describe(run(2), DAY)["state"] == "FIRING"
