import io
import json

from rich.console import Console

from leadline.demo.flights import DAY_US, DECEMBER_US, HOUR_US
from leadline.demo.progress import Screen
from leadline.demo.replay import Progress, Tally


def _progress(at_us: int, tally: Tally | None = None) -> Progress:
    return Progress(at_us, tally or Tally())


def _screen(*, as_json: bool = False) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(as_json=as_json, console=Console(file=out, width=200)), out


def test_without_a_terminal_there_is_a_line_a_day() -> None:
    screen, out = _screen()
    with screen:
        for hour in range(49):
            screen.show(_progress(DECEMBER_US + hour * HOUR_US, Tally(asked=hour)))
    assert len(out.getvalue().splitlines()) == 3


def test_the_line_says_what_was_expected_and_what_came() -> None:
    screen, _ = _screen()
    tally = Tally(asked=101, errors=1, labelled=50, late=20, score_sum=15)
    line = screen.line(_progress(DECEMBER_US + DAY_US, tally))
    assert "Mon 02 Dec 2013 00:00 UTC" in line
    assert "late 40.0% of 50" in line
    assert "expected 15.0% of 101" in line
    assert "1 errors" in line


def test_json_is_a_line_an_hour_and_said_things_are_json_too() -> None:
    screen, out = _screen(as_json=True)
    with screen:
        screen.show(_progress(DECEMBER_US, Tally(asked=2, score_sum=0.5)))
        screen.say("something")
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert told[0]["mean_score"] == 0.25
    assert told[1] == {"said": "something"}


def test_the_last_words_say_whether_there_is_more() -> None:
    screen, _ = _screen()
    assert "Nothing to replay" in screen.last_words(DECEMBER_US, DECEMBER_US)
    screen.show(_progress(DECEMBER_US))
    assert "run it again" in screen.last_words(DECEMBER_US, DECEMBER_US + 1)
    assert "Done" in screen.last_words(DECEMBER_US, DECEMBER_US)
