"""Labels from a file: what is sent, and what is said of what cannot be."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from contracts.labels import LabelsIn
from kit.clock import write_clock
from kit.problems import invalid_input
from leadline.commands.labels import labels
from leadline.state import StateDir, write_private
from tests.leadline.fake_gateway import FakeGateway, fake_gateway

HEADER = "request_id,row,label,event_time\n"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "state")
    state.make()
    return state


@pytest.fixture
def gateway(tmp_path: Path, state: StateDir) -> Iterator[FakeGateway]:
    write_clock(tmp_path / "clock", 0)
    with fake_gateway(tmp_path / "clock") as found:
        write_private(state.endpoints_file, {"gateway": found.url})
        write_private(state.credentials_file, {"admin_key": "k"})
        found.says["/v1/labels"] = {"outcomes": {"joined": 2, "rejected": 0}, "rejected": []}
        yield found


def send(state: StateDir, content: bytes | str, *options: str) -> Result:
    data = content if isinstance(content, bytes) else content.encode()
    command = ["delay", "-", "--state", str(state.root), *options]
    return CliRunner().invoke(labels, command, input=data)


def test_labels_from_csv_are_typed_and_sent_together(
    state: StateDir, gateway: FakeGateway, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    rows = "00ff,1,true,2013-12-05T10:00:00Z\n\n00fe,,0.5,2013-12-05T11:00:00Z\n00fd,,late,\n"
    file.write_text("\ufeff" + HEADER + rows)  # as a spreadsheet writes it
    shown = CliRunner().invoke(labels, ["delay", str(file), "--state", str(state.root)])
    assert shown.output == "2 joined, 0 rejected\n"
    first, second, third = gateway.seen[0].body["labels"]
    assert (first["label"], first["row"], first["model"]) == (True, 1, "delay")
    assert first["request_id"] == "00ff"
    assert (second["label"], third["label"]) == (0.5, "late")
    assert "row" not in second
    assert "event_time" not in third


def test_either_kind_may_come_on_standard_input(state: StateDir, gateway: FakeGateway) -> None:
    assert send(state, HEADER + "00ff,1,1,2013-12-05T10:00:00Z\n").exit_code == 0
    assert send(state, '{"request_id": "00ff", "row": 1, "label": 1.0}\n\n').exit_code == 0
    by_csv, by_json = (seen.body["labels"][0] for seen in gateway.seen)
    assert by_csv == {**by_json, "event_time": "2013-12-05T10:00:00Z"}
    assert send(state, "").output == "no labels\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEADER + "a,0,1,\na,x,1,\n", "Line 3: row is a whole number"),
        (HEADER + "a,0,1,2013-12-05T10:00:00Z,more\n", "Line 2 has more cells"),
        ("request_id;label\na;1\n", "separated by commas"),
        ('[{"request_id": "a"}]', "separated by commas"),
        ('{"label": 1}\n{bad\n', "Line 2 is no JSON"),
        ('{"label": 1}\n{"label": NaN}\n', "Line 2 is no JSON"),
        ('{"label": 1}\n[1]\n', "Line 2 is no JSON object"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(
    state: StateDir, gateway: FakeGateway, content: bytes | str, told: str
) -> None:
    result = send(state, content)
    assert result.exit_code == 1
    assert told in result.output
    assert gateway.seen == []


def test_what_the_platform_refuses_is_named_by_its_line(
    state: StateDir, gateway: FakeGateway
) -> None:
    with pytest.raises(ValidationError) as refused:
        LabelsIn.model_validate_json('{"labels": [{"model": "delay", "label": null}]}')
    errors = [{**one, "loc": ("body", *one["loc"])} for one in refused.value.errors()]
    gateway.refusal = invalid_input(errors).body()
    gateway.refuse["/v1/labels"] = [422]
    result = send(state, HEADER + "\na,0,,\n")
    assert result.exit_code == 1
    assert "line 3: /label" in result.output
    assert "/labels/0" not in result.output


def test_a_label_that_was_rejected_is_named_by_its_line(
    state: StateDir, gateway: FakeGateway
) -> None:
    gateway.says["/v1/labels"] = {
        "outcomes": {"joined": 1, "rejected": 1},
        "rejected": [{"pointer": "/labels/1/label", "code": "unknown-class"}],
    }
    content = HEADER + "a,0,1,2013-12-05T10:00:00Z\n\nb,0,nan,2013-12-05T10:00:00Z\n"
    assert send(state, content).output == "1 joined, 1 rejected\n  line 4: unknown-class\n"
    assert gateway.seen[0].body["labels"][1]["label"] == "nan"
    assert orjson.loads(send(state, content, "--json").output) == {
        "joined": 1,
        "rejected": 1,
        "rejected_lines": [{"line": 4, "code": "unknown-class"}],
    }
