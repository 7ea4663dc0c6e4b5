"""What stands on a drawing can be read."""

import pytest

from monitor.domain.plots import number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.04083, "0.0408"),
        (22.83, "22.8"),
        (1384.0, "1,380"),
        (-2586.5, "-2,590"),
        (3.2e9, "3.2e+09"),
    ],
)
def test_a_tick_is_short_and_has_no_power_of_ten_where_people_would_write_none(
    value: float, shown: str
) -> None:
    assert number(value) == shown
