"""A number stands for one thing, whatever the database has forgotten."""

from pathlib import Path

import pytest

from registry.adapters.numbers_disk import DiskNumbers


@pytest.fixture
def numbers(tmp_path: Path) -> DiskNumbers:
    return DiskNumbers(tmp_path)


def test_the_next_number_is_beyond_those_given_and_those_taken(numbers: DiskNumbers) -> None:
    assert numbers.next("versions", "delay", []) == 1
    assert numbers.next("versions", "delay", [1, 2]) == 3
    numbers.keep("versions", "delay", 7)
    assert numbers.next("versions", "delay", [1, 2]) == 8
    assert numbers.next("versions", "fraud", []) == numbers.next("rollouts", "delay", []) == 1


def test_what_had_a_number_has_it_again_where_it_is_free(numbers: DiskNumbers) -> None:
    numbers.keep("versions", "delay", 2, "a" * 64)
    numbers.keep("versions", "delay", 3, "b" * 64)
    assert numbers.next("versions", "delay", [1], "a" * 64) == 2
    assert numbers.next("versions", "delay", [1, 2], "a" * 64) == 4
    assert numbers.next("versions", "delay", [1], "c" * 64) == 4


def test_what_a_number_stands_for_is_not_forgotten_when_it_is_heard_of_again(
    numbers: DiskNumbers, tmp_path: Path
) -> None:
    numbers.keep("versions", "delay", 2, "a" * 64)
    numbers.keep("versions", "delay", 2)
    assert DiskNumbers(tmp_path).next("versions", "delay", [1], "a" * 64) == 2
