import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.queues import FRESH_NS, QUEUES_MAX, QUICK_NS, WINDOW_NS, Queue, Queues

MS = 1_000_000
NOW = 10**12
STEP = WINDOW_NS + MS


def behind_a_queue(
    rows: int = 1000, took_ms: int = 400, a_second: int = 2500, ahead: int | None = None
) -> Queues:
    """A queue of that many rows, answered at that rate, each after so long."""
    queues = Queues()
    ahead = took_ms * a_second // 1000 if ahead is None else ahead
    queues.of("delay").quick_ns = NOW - 5 * STEP  # before it grew
    for at in range(5):
        done = a_second * STEP // 10**9
        queues.note_slow("delay", done, took_ms * MS, NOW - (4 - at) * STEP, ahead)
    queues.of("delay").rows = rows
    return queues


def test_what_would_wait_too_long_at_the_present_rate_is_hopeless() -> None:
    queues = behind_a_queue()
    assert queues.hopeless_ns("delay", 1300 * MS, NOW) == 0
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == pytest.approx(400 * MS, rel=0.01)


def test_while_somebody_is_refused_the_queue_is_kept_short() -> None:
    queues = behind_a_queue(rows=1000)
    assert queues.hopeless_ns("delay", 900 * MS, NOW) > 0
    queues.of("delay").rows = 400
    assert queues.hopeless_ns("delay", 700 * MS, NOW) == pytest.approx(160 * MS, rel=0.01)
    queues.of("delay").rows = 300
    assert queues.hopeless_ns("delay", 700 * MS, NOW) == 0


def test_who_has_more_than_twice_the_time_may_still_wait() -> None:
    queues = behind_a_queue(rows=1000)
    assert queues.hopeless_ns("delay", 500 * MS, NOW) > 0
    queues.of("delay").rows = 500
    assert queues.hopeless_ns("delay", 999 * MS, NOW) > 0
    queues = behind_a_queue(rows=1000)
    assert queues.hopeless_ns("delay", 500 * MS, NOW) > 0
    queues.of("delay").rows = 500
    assert queues.hopeless_ns("delay", 1001 * MS, NOW) == 0


def test_a_second_after_the_last_refusal_it_may_grow_again() -> None:
    queues = behind_a_queue(rows=1000)
    assert queues.hopeless_ns("delay", 900 * MS, NOW) > 0
    queues.of("delay").rows = 400
    for at in range(1, FRESH_NS // STEP + 2):
        queues.note_slow("delay", 2500 * STEP // 10**9, 400 * MS, NOW + at * STEP, 1000)
    assert queues.hopeless_ns("delay", 700 * MS, NOW + FRESH_NS) == 0


def test_the_wait_is_in_proportion_to_what_is_ahead() -> None:
    queues = behind_a_queue()
    queues.of("delay").rows = 300
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 0
    queues.of("delay").rows = 1500
    assert queues.hopeless_ns("delay", 900 * MS, NOW) == pytest.approx(590 * MS, rel=0.01)


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 60_000))
def test_an_empty_queue_is_never_hopeless(a_second: int, took_ms: int, left_ms: int) -> None:
    queues = behind_a_queue(0, took_ms, a_second)
    assert queues.hopeless_ns("delay", left_ms * MS, NOW) == 0


@given(st.integers(1, 10**6), st.integers(0, 10**9))
def test_a_latency_that_is_small_beside_the_deadline_is_no_queue(rows: int, more: int) -> None:
    queues = behind_a_queue(rows, took_ms=60, ahead=rows)  # a model that takes as long for many
    assert queues.hopeless_ns("delay", 182 * MS + more, NOW) == 0


@given(st.integers(1, 10**6), st.integers(61, 181))
def test_nor_is_one_that_leaves_little_of_it(rows: int, left_ms: int) -> None:
    queue = Queue(rows)
    for at in range(20):
        queue.note_slow(10, 60 * MS, NOW + at * STEP, rows)
    assert queue.hopeless_ns(left_ms * MS, NOW + 20 * STEP) == 0


def test_a_rate_that_falls_is_followed_within_moments() -> None:
    queues = behind_a_queue(rows=500, a_second=2500)  # 200 ms
    for at in range(1, 6):
        queues.note_slow("delay", 25, 400 * MS, NOW + at * STEP, 200)
    assert queues.hopeless_ns("delay", 450 * MS, NOW + 5 * STEP) > 700 * MS


def test_a_rate_that_rises_is_believed_at_once() -> None:
    queues = behind_a_queue(rows=1000, a_second=2500)
    queues.note_slow("delay", 250, 400 * MS, NOW + 1, 1000)
    queues.note_slow("delay", 250, 400 * MS, NOW + STEP, 1000)
    assert queues.hopeless_ns("delay", 450 * MS, NOW + STEP) == 0


def test_an_overload_is_seen_before_somebody_has_waited_in_its_whole_queue() -> None:
    queues = behind_a_queue(rows=250, took_ms=100)
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 0
    queues.of("delay").rows = 500  # it has doubled since those who are answered now had asked
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == pytest.approx(180 * MS, rel=0.01)


def test_a_rate_of_callers_who_asked_for_no_more_refuses_nobody() -> None:
    queues = behind_a_queue(rows=200, took_ms=40, a_second=250, ahead=40)  # half a ms for each
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 0


def test_answers_behind_nobody_are_no_forecast() -> None:
    queues = behind_a_queue(rows=10_000, ahead=0)
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 0


def test_a_replica_that_has_come_to_a_stop_is_sent_no_more_than_before() -> None:
    queues = behind_a_queue(rows=300)
    assert queues.hopeless_ns("delay", 450 * MS, NOW + 500 * MS) == 0
    queues.of("delay").rows = 400
    assert queues.hopeless_ns("delay", 450 * MS, NOW + 500 * MS) > 0


def test_one_slow_model_refuses_no_other() -> None:
    queues = behind_a_queue()
    queues.of("fast").rows = 10_000
    assert queues.hopeless_ns("fast", 1, NOW) == 0


def test_where_most_answers_are_quick_they_are_believed() -> None:
    # a slow canary, a pause that has ended
    queues = behind_a_queue()
    queues.of("delay").note_quick(300, NOW)
    assert queues.hopeless_ns("delay", 1, NOW) == 0


def test_a_quick_answer_among_many_slow_ones_is_not() -> None:
    queues = behind_a_queue()
    queues.of("delay").note_quick(50, NOW)
    assert queues.hopeless_ns("delay", 450 * MS, NOW) > 0


def test_quick_answers_of_before_are_forgotten_in_two_windows() -> None:
    queue = Queue(rows=1000)
    queue.note_quick(10**6, NOW)
    for at in range(4):
        queue.note_slow(127, 400 * MS, NOW + at * STEP, 1000)
    queue.note_quick(1, NOW + 3 * STEP)
    assert queue.is_slow(NOW + 3 * STEP)


def test_one_short_wait_is_not_taken_for_that_of_all() -> None:
    queues = behind_a_queue()
    queues.note_slow("delay", 1, 21 * MS, NOW + STEP, 1000)
    assert queues.hopeless_ns("delay", 450 * MS, NOW + STEP) > 0


def test_what_was_learned_is_forgotten() -> None:
    queues = behind_a_queue()
    assert queues.hopeless_ns("delay", 1, NOW + FRESH_NS + MS) == 0
    assert queues.slow == {}


def test_a_first_slow_answer_after_a_pause_says_nothing_of_the_rate() -> None:
    queue = Queue(rows=10)
    queue.note_slow(1000, 30 * MS, NOW, 10)
    queue.note_slow(10, 400 * MS, NOW + 2 * FRESH_NS, 10)
    assert queue.hopeless_ns(450 * MS, NOW + 2 * FRESH_NS) == 0


def test_names_are_bounded() -> None:
    queues = Queues()
    for number in range(QUEUES_MAX + 10):
        queues.note_slow(f"m{number}", 1, QUICK_NS, NOW, 1)
    assert len(queues._queues) == len(queues.slow) == QUEUES_MAX


def test_what_was_slow_once_and_never_asked_again_is_forgotten() -> None:
    queues = Queues()
    for number in range(3):
        queues.note_slow(f"m{number}", 1, 2 * QUICK_NS, NOW, 1)
    for _ in range(3):
        assert queues.hopeless_ns("other", 1, NOW + FRESH_NS + MS) == 0
    assert not queues.slow
