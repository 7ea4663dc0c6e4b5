"""The replay's progress line."""

import json
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from leadline.demo.flights import DAY_US, HOUR_US
from leadline.demo.replay import Progress, iso

RATE_WINDOW_S = 2.0


class Screen:
    """One line that is redrawn on a terminal; a line a simulated day elsewhere; or JSON."""

    def __init__(self, *, as_json: bool = False, console: Console | None = None) -> None:
        self._as_json = as_json
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._live: Live | None = None
        self._rate_at, self._rate_asked, self._rate = time.monotonic(), -1.0, 0.0
        self._shown_us = 0
        self._last: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Draw the state after a step."""
        self._measure(progress)
        self._last = progress
        if self._live is not None:
            self._live.update(Text(self.line(progress)))
            return
        every_us = HOUR_US if self._as_json else DAY_US
        if progress.now_us // every_us != self._shown_us // every_us:
            self._shown_us = progress.now_us
            said = json.dumps(self.numbers(progress)) if self._as_json else self.line(progress)
            self._console.print(said, soft_wrap=True, markup=False)

    def say(self, text: str) -> None:
        """Print a line of its own, above the progress line."""
        said = json.dumps({"said": text}) if self._as_json else text
        self._console.print(said, soft_wrap=True, markup=False)

    def numbers(self, progress: Progress) -> dict[str, Any]:
        """The line's content as values."""
        tally = progress.tally
        answered = tally.asked - tally.errors
        return {
            "time": iso(progress.now_us),
            "requests_per_second": round(self._rate, 1),
            "asked": int(tally.asked),
            "labelled": int(tally.labelled),
            "late_rate": tally.late / tally.labelled if tally.labelled else None,
            "mean_score": tally.score_sum / answered if answered else None,
            "errors": int(tally.errors),
            "first_error": tally.first_error or None,
            "behind_s": round(progress.behind_s, 1),
        }

    def line(self, progress: Progress) -> str:
        """The progress line."""
        at = datetime.fromtimestamp(progress.now_us / 1e6, UTC)
        numbers = self.numbers(progress)
        parts = [
            f"{at:%a %d %b %Y %H:%M} UTC",
            f"{numbers['requests_per_second']:.0f} requests/s",
            f"late {_percent(numbers['late_rate'])} of {numbers['labelled']:,}",
            f"expected {_percent(numbers['mean_score'])} of {numbers['asked']:,}",
            f"{numbers['errors']} errors",
        ]
        if progress.behind_s > 1:
            parts.append(f"{progress.behind_s:.0f} s behind")
        if progress.tally.first_error:
            parts.append(f"first error: {progress.tally.first_error[:120]}")
        return " | ".join(parts)

    def last_words(self, position_us: int, until_us: int) -> str:
        """What to say when the replay returns."""
        if self._last is None:
            return f"Nothing to replay: the demo stands at {iso(position_us)} already."
        summary = self.line(self._last)
        if position_us < until_us:
            return f"{summary}\nStopped at {iso(position_us)}; run it again to go on from there."
        return f"{summary}\nDone: it is {iso(position_us)}."

    def _measure(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._rate_asked < 0:
            self._rate_asked = progress.tally.asked
        if now - self._rate_at >= RATE_WINDOW_S:
            self._rate = (progress.tally.asked - self._rate_asked) / (now - self._rate_at)
            self._rate_at, self._rate_asked = now, progress.tally.asked

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._as_json:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
