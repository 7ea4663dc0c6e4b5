"""A task of the pool gives the same runs wherever it is done."""

from bench.detection.pool import Task, watch, workers
from bench.detection.worlds import MAIN, SHIFTS


def test_a_task_in_another_process_is_the_task_in_this_one() -> None:
    task = Task(MAIN, 5, 0, 1, 17, (SHIFTS[5],))
    (here,) = watch(task)
    with workers() as pool:
        ((there,),) = pool.map(watch, [task])
    assert there.trace.z.tobytes() == here.trace.z.tobytes()
    assert [raised for _, raised in there.shifted] == [raised for _, raised in here.shifted]


def test_a_shift_of_one_sigma_is_named_on_its_first_day() -> None:
    (run,) = watch(Task(MAIN, 5, 0, 1, 17, (SHIFTS[5],)))
    assert run.raised == [set()] * 17
    ((trace, raised),) = run.shifted
    assert raised[3] == {"f0"}
    assert len(trace.z) == 17
    assert not trace.drifts
