"""``leadline demo``: live through December 2013 on a simulated clock."""

import re
import signal
from datetime import UTC, datetime

import click

from leadline.state import StateDir, state_option

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SPEED = re.compile(r"^(\d+(?:\.\d+)?)([smhd])=(\d+(?:\.\d+)?)([smhd])$")


class Speed(click.ParamType[float | None]):
    """``1d=7s``: one simulated day in seven seconds; ``max``: as fast as it goes."""

    name = "speed"

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> float | None:
        """Business seconds a real second, or None for ``max``."""
        if value is None or isinstance(value, float):
            return value
        if value == "max":
            return None
        match = _SPEED.match(str(value))
        if match is None or float(match[3]) == 0 or float(match[1]) == 0:
            self.fail("Write it as 1d=7s (simulated=real; s, m, h, d), or max.", param, context)
        return float(match[1]) * _UNITS[match[2]] / (float(match[3]) * _UNITS[match[4]])


class Instant(click.ParamType[int]):
    """A date, or a date and time; UTC unless it names a zone."""

    name = "instant"

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        """Microseconds since 1970 UTC."""
        if isinstance(value, int):
            return value
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("Write it as 2013-12-03 or 2013-12-03T18:00Z.", param, context)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return int(at.timestamp()) * 1_000_000


@click.group()
def demo() -> None:
    """The demo: will this flight arrive late? (New York, 2013)"""


@demo.command()
@state_option
@click.option("--speed", type=Speed(), default="1d=7s", show_default=True, help="Or max.")
@click.option("--from", "from_us", type=Instant(), help="Skip to this instant first.")
@click.option("--until", "until_us", type=Instant(), help="Stop here. [default: the end of 2013]")
@click.option("--story", is_flag=True, help="Also roll out version 2, a slow and a wrong version.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a simulated hour.")
def replay(
    state: StateDir,
    speed: float | None,
    from_us: int | None,
    until_us: int | None,
    story: bool,
    as_json: bool,
) -> None:
    """Live through the flights, and ask about each.

    What became known is pushed, predictions are asked for an hour before departure, and labels are
    sent when flights land.

    Goes on where the last replay stopped. --from brings what became known up to then into the
    feature store, but asks about none of the flights before it.
    """
    from leadline.demo.live import Wanted, live_through

    if not state.clock_file.exists():
        raise click.ClickException("This platform has no demo: start it with `leadline up --demo`.")
    live_through(state, Wanted(speed, from_us, until_us, story, as_json), _on_interrupt())


@demo.command()
@state_option
@click.option("--at", "at_us", type=Instant(), required=True, help="From 22 September 2013 on.")
def begin(state: StateDir, at_us: int) -> None:
    """Let a new demo begin at another instant.

    Before the first `leadline up --demo`; without it the demo begins on 1 December.

    Everything known before it becomes history, and the models are trained on nothing later.
    """
    from kit.clock import write_clock
    from leadline.demo.flights import DAY_US, END_US, TRAIN_FROM_US

    if state.clock_file.exists():
        raise click.ClickException(f"The demo in {state.root} has begun already.")
    if not TRAIN_FROM_US + 14 * DAY_US <= at_us < END_US:
        raise click.ClickException("Choose an instant from 22 September on: training needs days.")
    state.make()
    write_clock(state.clock_file, at_us)
    click.echo(f"The demo in {state.root} will begin there: leadline up --demo{state.flag}")


@demo.command("set-up", hidden=True)
@state_option
@click.option("--began-s", type=float, help="When its start began, on the monotonic clock.")
def fill(state: StateDir, began_s: float | None) -> None:
    """What `leadline up --demo` does once the services are ready."""
    from leadline.demo.setup import set_up
    from leadline.local.steps import Steps

    set_up(state, Steps(began_s))


def _on_interrupt() -> "Stop":
    stop = Stop()
    for signal_ in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_, stop.ask)
    return stop


class Stop:
    """Becomes true at the first Ctrl-C; the running step is finished, so nothing is half done."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self, _signal: int, _frame: object) -> None:
        """The signal handler; a second Ctrl-C ends at once."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def __call__(self) -> bool:
        return self._asked
