"""One sitting of the replay: everything is opened, lived through, and closed again."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import click

from kit.clock import FileClock
from leadline.client import Client
from leadline.demo.flights import END_US
from leadline.demo.journal import Journal
from leadline.demo.progress import Screen
from leadline.demo.replay import Endpoint, Progress, Replay, run
from leadline.demo.story import Story
from leadline.demo.wire import Wires
from leadline.state import StateDir


@dataclass(frozen=True, slots=True)
class Wanted:
    """What ``leadline demo replay`` was asked for."""

    rate: float | None
    """Business seconds a real second; None: as fast as it goes."""
    from_us: int | None
    until_us: int | None
    story: bool
    as_json: bool


def live_through(state: StateDir, wanted: Wanted, stopped: Callable[[], bool]) -> None:
    """Replay until the wanted instant or until stopped. Raises ``ClickException``."""
    folder = state.root / "demo"
    endpoint = _endpoint(state)
    until_us = wanted.until_us or END_US
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / "replay.sqlite"))
        wires = Wires(endpoint.gateway)
        stack.callback(wires.close)
        at_us = journal.position() or FileClock(state.clock_file).now_us()
        replay = Replay(endpoint, wires, journal, at_us)
        if wanted.from_us is not None:
            replay.skip_to(wanted.from_us)
        screen = Screen(as_json=wanted.as_json)
        story = None
        if wanted.story:
            client = stack.enter_context(Client.from_state(state, timeout_s=60.0))
            story = Story(client, folder / "story.json", screen.say)
        with screen:
            run(replay, until_us, rate=wanted.rate, show=_shown(screen, story), stopped=stopped)
            if story is not None:
                story.end()
        click.echo(screen.last_words(replay.position_us, until_us), err=wanted.as_json)


def _shown(screen: Screen, story: Story | None) -> Callable[[Progress], None]:
    if story is None:
        return screen.show

    def show(progress: Progress) -> None:
        story.follow(progress.now_us)
        screen.show(progress)

    return show


def _endpoint(state: StateDir) -> Endpoint:
    credentials = state.read_credentials()
    return Endpoint(
        gateway=state.read_endpoints()["gateway"],
        admin_key=credentials["admin_key"],
        demo_key=credentials["demo_key"],
        clock_file=state.clock_file,
    )
