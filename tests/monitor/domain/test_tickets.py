"""When drift becomes a ticket."""

import numpy as np

from monitor.domain import drift, tickets, windows
from monitor.domain.baseline import column_profile
from monitor.domain.edges import Floats, Ints
from monitor.domain.joint import JointDrift, PairShift
from monitor.domain.reference import reference_of

DAYS, ROWS = 28, 1000
RNG = np.random.default_rng(15)
REFERENCE = reference_of(
    column_profile(RNG.normal(size=DAYS * ROWS), np.repeat(np.arange(4, 4 + DAYS), ROWS))
)


def _days(shift: float, days: int, track: tickets.Track) -> list[tickets.Finding]:
    return [_day(RNG.normal(shift, size=2000), track) for _ in range(days)]


def _day(values: Floats, track: tickets.Track) -> tickets.Finding:
    found = drift.judge_column(REFERENCE, windows.count_column(REFERENCE, values))
    (finding,) = tickets.judge_run({"x": found}, {"x": track})
    return finding


def test_clean_days_bring_no_ticket() -> None:
    assert not any(finding.ticket for finding in _days(0.0, 30, tickets.Track()))


def test_a_large_shift_needs_two_windows_of_three_for_the_gross_rule() -> None:
    first, second = _days(0.5, 2, tickets.Track())
    assert not first.gross
    assert second.gross


def test_a_small_shift_that_lasts_is_found_by_its_sum_though_no_day_is_gross() -> None:
    found = _days(0.1, 10, tickets.Track())
    assert found[-1].lasting
    assert not any(finding.gross for finding in found)


def test_nulls_bring_a_ticket_of_their_own() -> None:
    values = np.where(RNG.random(2000) < 0.05, np.nan, RNG.normal(size=2000))
    finding = _day(values, tickets.Track())
    assert finding.nulls
    assert not finding.gross
    drifted = drift.judge_column(REFERENCE, windows.count_column(REFERENCE, values))
    assert "no usable value" in tickets.sentence(finding, drifted, 1)


def test_a_mean_beyond_two_sigma_three_windows_running_is_gross_breakage() -> None:
    found = _days(2.5, 3, tickets.Track())
    assert [finding.beyond_two_sigma for finding in found] == [False, False, True]


def test_a_mean_that_wanders_as_far_as_training_days_did_is_no_breakage() -> None:
    # Nine weeks of autumn, each colder than the last; then winter, at the pace known.
    rng = np.random.default_rng(18)
    pace = np.linspace(2, -2, 63)
    day = np.repeat(np.arange(4, 4 + 63), 300)
    autumn = np.repeat(pace, 300) + rng.normal(0, 0.3, 63 * 300)
    reference = reference_of(column_profile(autumn, day))
    track = tickets.Track()
    for shift in (-2.9, -2.9, -2.9):
        values = rng.normal(shift, 0.3, size=900)
        found = drift.judge_column(reference, windows.count_column(reference, values))
        (finding,) = tickets.judge_run({"x": found}, {"x": track})
        assert found.beyond_two_sigma
        assert not finding.beyond_two_sigma


def test_a_column_without_enough_data_keeps_its_memory() -> None:
    track = tickets.Track()
    _days(0.1, 2, track)
    before = (track.shape, list(track.gross))
    thin = drift.judge_column(REFERENCE, windows.count_column(REFERENCE, np.zeros(10)))
    assert tickets.judge_run({"x": thin}, {"x": track}) == ()
    assert (track.shape, list(track.gross)) == before


def test_a_restarted_track_knows_nothing() -> None:
    track = tickets.Track()
    _days(0.5, 3, track)
    tickets.restart([track])
    assert track == tickets.Track()


def test_the_sentence_says_what_how_much_against_what_and_on_how_many_rows() -> None:
    track = tickets.Track()
    _day(RNG.normal(0.5, size=2000), track)
    values = RNG.normal(0.5, size=2000)
    finding = _day(values, track)
    found = drift.judge_column(REFERENCE, windows.count_column(REFERENCE, values))
    text = tickets.sentence(finding, found, 2)
    assert text.startswith("x: distance 0.")
    assert "2000 rows" in text
    assert f"floor of {found.floor:.3f}" in text


def test_a_lasting_change_of_dependence_is_a_ticket_that_names_the_pair() -> None:
    pair = PairShift("a", "b", 0.0, 0.3, 1e-6)
    track = tickets.Track()
    calm = JointDrift(500, 0.001, 0.4, 1.0, 0.2, ())
    moved = JointDrift(500, 0.002, 0.3, 1e-8, 5.0, (pair,))
    assert not any(tickets.judge_joint_run(calm, track, 20) for _ in range(30))
    assert [tickets.judge_joint_run(moved, track, 20) for _ in range(2)] == [False, True]
    text = tickets.joint_sentence(moved, track, 20)
    assert "a with b from +0.00 to +0.30" in text
    assert "500 rows" in text


def test_a_calendar_column_that_is_constant_on_each_day_brings_no_ticket() -> None:
    rng = np.random.default_rng(16)
    day = np.repeat(np.arange(4, 4 + 63), 200)

    def values(days: Ints) -> Ints:
        # Local time: the first hours of a UTC day belong to the day before.
        return (days + 3 - (rng.random(len(days)) < 0.1)) % 7

    reference = reference_of(column_profile(values(day), day))
    track = tickets.Track()
    for today in range(100, 128):
        found = drift.judge_column(
            reference,
            windows.count_column(reference, values(np.full(300, today)), weekday=(today + 3) % 7),
        )
        (finding,) = tickets.judge_run({"weekday": found}, {"weekday": track})
        assert not finding.ticket


def test_a_column_whose_training_days_cluster_needs_more_to_be_believed() -> None:
    spells = np.repeat(np.random.default_rng(17).normal(0, 0.5, size=12), 5)
    sample = np.concatenate([RNG.normal(shift, size=500) for shift in spells])
    clustered = reference_of(column_profile(sample, np.repeat(np.arange(4, 64), 500)))
    found = drift.judge_column(clustered, windows.count_column(clustered, RNG.normal(size=500)))
    (finding,) = tickets.judge_run({"x": found}, {"x": tickets.Track()})
    assert finding.limit == max(finding.nulls_limit, 1.5 * found.usual)


def test_values_outside_the_training_range_bring_a_ticket_though_the_shape_hardly_moves() -> None:
    values = RNG.normal(size=2000)
    values[:20] *= 10
    finding = _day(values, tickets.Track())
    assert finding.outside
    assert not finding.lasting
    found = drift.judge_column(REFERENCE, windows.count_column(REFERENCE, values))
    assert "outside the training range" in tickets.sentence(finding, found, 1)
