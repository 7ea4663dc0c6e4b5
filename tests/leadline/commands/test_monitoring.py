"""The monitor from the shell: what is sent, and what is shown."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from leadline.commands import monitoring

COLUMN = {
    "state": "OK", "rows": 900, "distance": 0.31, "p": 1e-9, "q": 2e-9, "low": 0.25, "floor": 0.05,
    "mean_shift": 0.8, "null_rate": 0.0,
}  # fmt: skip
DRIFT = {
    "window_text": "2013-12-05",
    "versions": [
        {
            "version": "2",
            "state": "OK",
            "columns": {"distance": COLUMN, "few": {"state": "INSUFFICIENT_DATA", "rows": 3}},
        }
    ],
}
ALERT = {"severity": "ticket", "state": "FIRING", "fingerprint": "f" * 16, "sentence": "It moved."}


class Gateway(BaseHTTPRequestHandler):
    """Remembers what is asked and answers as the gateway does."""

    asked: ClassVar[list[tuple[str, Any]]] = []
    answers: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(json.loads(body) if body else None)

    def _answer(self, body: Any) -> None:
        self.asked.append((self.path, body))
        found = self.answers[self.path.partition("?")[0]]
        data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Gateway.asked.clear()
    Gateway.answers.clear()
    url = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "endpoints.json").write_text(json.dumps({"gateway": url}))
    (tmp_path / "credentials.json").write_text(json.dumps({"admin_key": "k", "demo_key": "k"}))
    yield tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


def run(command: click.Command, state: Path, *arguments: str, columns: int = 160) -> Result:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(
        command, [*arguments, "--state", str(state)]
    )
    assert result.exit_code == 0, result.output
    return result


def test_a_column_name_is_shown_whole_whatever_it_holds(state: Path) -> None:
    for name in ("origin_delay_3h:departures", "a_name_of_more_than_twenty_six_letters", "x[red]"):
        version = {"version": "2", "state": "OK", "columns": {name: COLUMN}}
        Gateway.answers["/v1/drift/delay"] = {**DRIFT, "versions": [version]}
        shown = run(monitoring.drift, state, "delay", columns=80).output
        lines = shown.splitlines()
        rule = next(at for at, line in enumerate(lines) if "──" in line)
        cells = [line[2:].split("  ")[0].strip() for line in lines[rule + 1 :]]
        assert "".join(cells) == name
        assert "0.310" in shown
        assert "+0.80 σ" in shown


def test_drift_shows_each_column_with_its_limit(state: Path) -> None:
    Gateway.answers["/v1/drift/delay"] = DRIFT
    shown = run(monitoring.drift, state, "delay", "--from", "2013-12-05T00:00Z").output
    assert "0.310" in shown
    assert "too few rows" in shown
    assert "from=2013-12-05T00%3A00%3A00%2B00%3A00" in Gateway.asked[0][0]


def test_a_run_that_is_kept_is_of_every_version(state: Path) -> None:
    for part in (["--version", "2"], ["--segment", "origin=EWR"]):
        words = ["delay", "--run", *part, "--state", str(state)]
        told = CliRunner().invoke(monitoring.drift, words)
        assert told.exit_code == 2
        assert "every version" in told.output
    assert Gateway.asked == []


def test_alerts_are_listed_with_their_sentences(state: Path) -> None:
    Gateway.answers["/v1/alerts"] = {"alerts": [ALERT]}
    shown = run(monitoring.alerts, state).output
    assert "ticket FIRING" in shown
    assert "It moved." in shown


def test_an_alert_is_silenced_until_a_time_for_a_reason(state: Path) -> None:
    Gateway.answers[f"/v1/alerts/{'f' * 16}/silence"] = {**ALERT, "state": "SILENCED"}
    shown = run(
        monitoring.silence, state, "f" * 16, "--until", "2013-12-31", "--reason", "known storm"
    ).output
    assert shown == "SILENCED: It moved.\n"
    assert Gateway.asked[0][1] == {"until": "2013-12-31T00:00:00+00:00", "reason": "known storm"}


def test_the_report_is_written_where_it_is_wanted(state: Path, tmp_path: Path) -> None:
    Gateway.answers["/v1/reports/delay/html"] = "<!doctype html><title>delay</title>"
    path = tmp_path / "page.html"
    run(monitoring.report, state, "delay", "--output", str(path))
    assert path.read_text().startswith("<!doctype html>")


def test_a_time_that_is_none_is_said_before_anything_is_sent(state: Path) -> None:
    result = CliRunner().invoke(
        monitoring.drift, ["delay", "--from", "yesterday", "--state", str(state)]
    )
    assert result.exit_code == 2
    assert Gateway.asked == []
