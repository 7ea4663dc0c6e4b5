from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.queues import FRESH_NS, QUEUES_MAX, QUICK_NS, WINDOW_NS, Queue, Queues

MS = 1_000_000
NOW = 10**12


def behind_a_queue(rows: int = 1000, took_ms: int = 400) -> Queues:
    queues = Queues()
    for at in range(5):
        queues.note_slow("delay", rows, took_ms * MS, NOW - (5 - at) * 40 * MS)
    queues.of("delay").rows = rows
    return queues


def test_what_as_many_waited_too_long_for_is_hopeless() -> None:
    queues = behind_a_queue()
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 400 * MS
    assert queues.hopeless_ns("delay", 680 * MS, NOW) == 0


def test_the_wait_is_in_proportion_to_what_is_ahead() -> None:
    queues = behind_a_queue(rows=1000, took_ms=400)
    queues.of("delay").rows = 500
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 0
    queues.of("delay").rows = 1500
    assert queues.hopeless_ns("delay", 900 * MS, NOW) == 600 * MS


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 60_000))
def test_an_empty_queue_is_never_hopeless(ahead: int, took_ms: int, left_ms: int) -> None:
    queues = behind_a_queue(ahead, took_ms)
    queues.of("delay").rows = 0
    assert queues.hopeless_ns("delay", left_ms * MS, NOW) == 0


@given(st.integers(1, 10**6), st.integers(0, 10**9))
def test_a_latency_that_is_small_beside_the_deadline_is_no_queue(rows: int, more: int) -> None:
    queues = behind_a_queue(rows=1, took_ms=60)  # a model that takes as long for many
    queues.of("delay").rows = rows
    assert queues.hopeless_ns("delay", 182 * MS + more, NOW) == 0


def test_one_slow_model_refuses_no_other() -> None:
    queues = behind_a_queue()
    queues.of("fast").rows = 10_000
    assert queues.hopeless_ns("fast", 1, NOW) == 0


def test_quick_answers_beside_slow_ones_are_believed() -> None:
    # a slow canary, a pause that has ended
    queues = behind_a_queue()
    queues.of("delay").quick_ns = NOW - WINDOW_NS
    assert queues.hopeless_ns("delay", 1, NOW) == 0


def test_the_quickest_of_the_last_answers_counts() -> None:
    queues = behind_a_queue()
    queues.note_slow("delay", 1000, 50 * MS, NOW)
    assert queues.hopeless_ns("delay", 450 * MS, NOW) == 0


def test_what_was_learned_is_forgotten() -> None:
    queues = behind_a_queue()
    assert queues.hopeless_ns("delay", 1, NOW + FRESH_NS) == 0
    assert queues.slow == {}


def test_a_first_slow_answer_after_a_pause_counts_alone() -> None:
    queue = Queue(rows=10)
    queue.note_slow(1000, 30 * MS, NOW)
    queue.note_slow(10, 400 * MS, NOW + 2 * FRESH_NS)
    assert queue.hopeless_ns(450 * MS) == 400 * MS


def test_names_are_bounded() -> None:
    queues = Queues()
    for number in range(QUEUES_MAX + 10):
        queues.note_slow(f"m{number}", 1, QUICK_NS, NOW)
    assert len(queues._queues) == len(queues.slow) == QUEUES_MAX
