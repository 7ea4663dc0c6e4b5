import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kit.clock import write_clock
from leadline.commands.bench import bench
from leadline.state import StateDir, write_private
from tests.leadline.fake_gateway import FakeGateway, fake_gateway


@contextmanager
def platform(directory: Path) -> Iterator[FakeGateway]:
    """One whose counters never move."""
    state = StateDir(directory)
    with fake_gateway(directory / "clock") as gateway:
        write_clock(directory / "clock", 0, 0.0)
        gateway.says["/metrics"] = ""
        write_private(state.endpoints_file, {"gateway": gateway.url, "inference": gateway.url})
        write_private(state.credentials_file, {"demo_key": "key"})
        yield gateway


def interrupt(gateway: FakeGateway, *, after: str) -> threading.Thread:
    """A thread that presses Ctrl-C when ``after`` and ten predictions more have been asked."""

    def press() -> None:
        tries = threading.Event()
        while not gateway.of(after):
            tries.wait(0.01)
        asked = len(gateway.seen)
        while len(gateway.seen) < asked + 10:
            tries.wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread


def run(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(bench, ["--concurrency", "2", "--state", str(directory), *options])


@pytest.mark.parametrize("instance", ["[1", "[1]", "1", "null"])
def test_what_is_no_instance_is_not_asked(instance: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(bench, ["--instance", instance, "--state", str(tmp_path)])
    assert said.exit_code == 2
    assert "--instance is a JSON object" in said.output


@pytest.mark.parametrize("options", [("--rate", "nan"), ("--rate", "inf"), ("--seconds", "nan")])
def test_what_is_no_number_of_seconds_or_requests_is_not_asked(
    options: tuple[str, str], tmp_path: Path
) -> None:
    said = run(tmp_path, *options)
    assert said.exit_code == 2
    assert "--seconds and --rate are finite numbers" in said.output


def test_a_load_in_which_nothing_was_due_says_so_and_measures_nothing(tmp_path: Path) -> None:
    random.seed(7)  # the first request is due after 3.9 s
    with platform(tmp_path):
        said = run(tmp_path, "--rate", "0.1", "--seconds", "0.2")
    assert said.exit_code == 1
    assert "none was due within 0.2 s; give --seconds 100." in said.output
    assert "bottleneck" not in said.output


def test_what_is_refused_for_good_is_told_instead_of_measured(tmp_path: Path) -> None:
    with platform(tmp_path) as gateway:
        gateway.refuse["/predict"] = [404, 404]
        said = run(tmp_path, "--seconds", "60")
        assert gateway.refuse["/predict"] == [404]
    assert said.exit_code == 1
    assert "not now (unavailable, HTTP 404)" in said.output


def test_a_load_of_nothing_but_refusals_tells_no_time_of_answers(tmp_path: Path) -> None:
    with platform(tmp_path) as gateway:
        gateway.refusal["retryable"] = True
        gateway.refuse["/predict"] = [503] * 1_000_000
        said = run(tmp_path, "--seconds", "0.3", "--json")
    assert said.exit_code == 1
    report = json.loads(said.stdout)
    assert report["statuses"].keys() == {"503"}
    assert report["parts"] == []
    assert report["bottleneck"] == "not looked for: no request was answered with 200"


def test_ctrl_c_ends_the_load_and_shows_what_was_measured(tmp_path: Path) -> None:
    with platform(tmp_path) as gateway:
        thread = interrupt(gateway, after="/metrics")
        said = run(tmp_path, "--seconds", "60", "--json")
        thread.join()
    assert said.exit_code == 130
    report = json.loads(said.stdout)
    assert report["interrupted"] is True
    assert report["answered_200"] >= 10
    assert 0 < report["seconds"] < 30
    assert report["bottleneck"]


def test_ctrl_c_before_anything_is_measured_says_so(tmp_path: Path) -> None:
    with platform(tmp_path) as gateway:
        thread = interrupt(gateway, after="/predict")
        said = run(tmp_path, "--seconds", "60")
        thread.join()
    assert said.exit_code == 130
    assert "Nothing was measured" in said.output
    assert not gateway.of("/metrics")


def test_a_slow_rate_is_told_as_it_is_and_that_it_was_kept_up_with(tmp_path: Path) -> None:
    random.seed(3)
    with platform(tmp_path):
        said = run(tmp_path, "--rate", "8", "--seconds", "1", "--json")
        report = json.loads(said.stdout)
        shown = run(tmp_path, "--rate", "8", "--seconds", "1").output
    assert report["answered_200"] >= 1
    assert "kept up with the rate" in report["bottleneck"]
    assert (report["restarted"], report["hung_up"]) == (False, False)
    assert "  0 requests/s" not in shown


def test_only_an_open_loop_tells_how_late_it_sent(tmp_path: Path) -> None:
    with platform(tmp_path):
        closed = run(tmp_path, "--seconds", "0.2")
        opened = run(tmp_path, "--seconds", "0.2", "--rate", "200")
    assert closed.exit_code == opened.exit_code == 0
    assert "sent late" not in closed.output
    assert "sent late" in opened.output
