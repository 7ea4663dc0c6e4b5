from pathlib import Path

from leadline.demo.journal import Journal, Waiting

FIRST, SECOND = Waiting("a", 10, late=True), Waiting("b", 20, late=False)


def test_what_waits_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with Journal(tmp_path / "demo" / "replay.sqlite") as journal:
        assert journal.position() is None
        journal.done(5, [FIRST, SECOND], [], {"asked": 2.0})
    with Journal(tmp_path / "demo" / "replay.sqlite") as journal:
        assert journal.position() == 5
        assert journal.landed(9) == []
        assert journal.landed(10) == [FIRST]
        journal.done(10, [], [FIRST], {"asked": 2.0})
        assert journal.landed(20) == [SECOND]
        assert journal.tallies() == {"asked": 2.0}


def test_a_step_that_was_done_twice_waits_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "replay.sqlite") as journal:
        journal.done(5, [FIRST], [], {})
        journal.done(5, [FIRST], [], {})
        assert journal.landed(10) == [FIRST]
