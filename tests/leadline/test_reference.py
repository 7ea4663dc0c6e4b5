"""The reference says what the code says, no more and no less."""

import json
from pathlib import Path

from contracts.problems import ProblemCode
from leadline.reference import DEFAULT_FOLDER, pages, stale, write
from leadline.reference.forwarded import FORWARDED
from leadline.reference.services import facts, instruments


def test_the_committed_reference_is_what_the_code_says() -> None:
    assert stale(DEFAULT_FOLDER) == []


def test_a_changed_and_a_forgotten_page_are_noticed(tmp_path: Path) -> None:
    forwarded = tmp_path / "forwarded.json"
    write(tmp_path, forwarded)
    assert stale(tmp_path, forwarded) == []
    (tmp_path / "problems.md").write_text("old")
    (tmp_path / "gone.md").write_text("of a page that is no longer made")
    assert stale(tmp_path, forwarded) == ["gone.md", "problems.md"]
    forwarded.write_text("{}")
    assert stale(tmp_path, forwarded) == ["forwarded.json"]


def test_what_the_gateway_says_of_other_services_is_what_they_say() -> None:
    told = json.loads(FORWARDED.read_text())["paths"]
    page = pages()["http.md"]
    for path, operations in told.items():
        for method, operation in operations.items():
            service, _, own_id = operation["operationId"].partition(".")
            own = facts(service).openapi["paths"][path][method]
            assert (own["operationId"], operation["x-served-by"]) == (own_id, service)
            assert f"| `{method.upper()} {path}` |" in page
    assert "/v1/replicas/{replica}" not in told
    assert "/healthz" not in told


def test_every_problem_has_its_line() -> None:
    page = pages()["problems.md"]
    for code in ProblemCode:
        assert f"| `{code.value}` | {code.status} |" in page


def test_secrets_have_no_default_to_show() -> None:
    page = pages()["settings.md"]
    (line,) = [line for line in page.splitlines() if "LEADLINE_SERVICE_TOKEN" in line]
    assert line.split("|")[2:4] == [" secret ", "   "]


def test_instruments_read_at_scrape_time_are_listed_with_their_labels() -> None:
    named = {name: (kind, labels) for name, kind, labels, _ in instruments("inference")}
    assert named["inference_rows_total"] == ("counter", ("model", "version", "outcome"))
    named = {name: (kind, labels) for name, kind, labels, _ in instruments("gateway")}
    assert named["gateway_predict_seconds"] == ("histogram", ())
    assert named["gateway_requests_total"] == ("counter", ("route", "status"))


def test_what_callers_cannot_reach_is_not_listed() -> None:
    paths = {route.path for route in facts("registry").routes}
    assert "/v1/models/{model}" in paths
    assert "/v1/replicas/{replica}" not in paths
    scopes = {(route.method, route.path): route.scope for route in facts("gateway").routes}
    assert scopes["POST", "/v1/keys"] == "`admin`"
    assert scopes["GET", "/healthz"] == "none"
