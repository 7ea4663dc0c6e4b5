"""The pages hold together: links resolve, records have their shape, examples run."""

import json
import re
from pathlib import Path

import click
import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from contracts.identity import SCOPES
from feature_store.facade import FeatureStore
from gateway.settings import Issuer
from leadline.cli import main
from registry.domain.plan import preset_plan
from shared_features import load_catalogue
from tests.docs.pages import PAGES, ROOT, anchors, blocks, code_spans, prose

_LINK = re.compile(r"\]\(([^)\s]+)\)")
GUIDES = [page for page in PAGES if page.parent.name in ("docs", ROOT.name)]
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in _LINK.findall(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_dir():
                ahead += sorted(target.glob("*.md"))
            elif target.suffix == ".md" and target.exists():
                ahead.append(target)
    assert set(PAGES) - seen == set()


def test_decisions_are_numbered_without_gaps_and_say_why_what_it_costs_and_when_again() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for path in DECISIONS:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. ")
        for part in ("**Why.**", "**Costs.**", "**Again if**"):
            assert part in text, path.name
        assert len(text.splitlines()) <= 40, path.name


def test_the_glossary_is_in_alphabetical_order_and_defines_each_word_once() -> None:
    words = re.findall(
        r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE
    )
    assert len(words) > 40
    assert words == sorted(set(words))


def test_the_makefile_runs_only_what_exists() -> None:
    named = re.findall(r"(?:tests|deploy)/[\w./]+", (ROOT / "Makefile").read_text())
    assert len(named) > 4
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_notice_names_every_data_file_that_is_not_ours() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for path in (ROOT / "leadline").rglob("*.parquet"):
        folder = path.parent.relative_to(ROOT)
        assert f"{folder}/*.parquet" in notice
    for named in re.findall(r"\S+/CREDIT\.md", notice):
        assert (ROOT / named).exists()


def test_the_definitions_on_the_features_page_load_and_compile(tmp_path: Path) -> None:
    source, *_ = blocks(ROOT / "docs/features.md", "python")
    (tmp_path / "shop.py").write_text(source)
    catalogue = load_catalogue([str(tmp_path / "shop.py")])
    assert len(catalogue.compile("checkout").fingerprint) == 64


@pytest.mark.parametrize(("brought", "total"), [({"created_time"}, 12.5), (set(), 0.0)])
def test_the_training_set_on_the_features_page_knows_the_past_that_says_when_it_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brought: set[str], total: float
) -> None:
    definitions, training = blocks(ROOT / "docs/features.md", "python")
    (tmp_path / "my_features.py").write_text(definitions)
    monkeypatch.chdir(tmp_path)
    (pushed,) = (json.loads(block) for block in blocks(ROOT / "docs/features.md", "json"))
    rows = [
        {n: v for n, v in r.items() if n in brought | {"user_id", "amount", "event_time"}}
        for r in pushed["rows"]
    ]
    store = FeatureStore.open(Path(".leadline"), ["my_features.py"])
    assert store.load(pushed["source"], rows).quarantined == []
    at = pd.to_datetime(["2026-11-02T00:00:00Z"])
    names = {"orders": pd.DataFrame({"user_id": ["u1"], "basket": [120.0], "ordered_at": at})}
    exec(compile(training, "docs/features.md", "exec"), names)  # noqa: S102 - our own page
    found = names["training"]
    assert found["spent_7d:total"].tolist() == [total]
    assert found["basket:large"].tolist() == [1]
    assert found["profile:country__status"].tolist() == ["NOT_FOUND"]


def test_the_plan_on_the_rollouts_page_is_a_plan() -> None:
    (given,) = (json.loads(block) for block in blocks(ROOT / "docs/rollouts.md", "json"))
    plan = preset_plan("careful", "classification", 0, **given)
    assert [guard.name for guard in plan.guards] == ["errors", "slow", "log_loss", "clicks"]
    assert plan.approvals == (1.0,)


def command_of(words: list[str]) -> tuple[click.Command, list[click.Command]]:
    """The command that a line calls, and the groups that lead to it."""
    command: click.Command = main
    way: list[click.Command] = []
    for word in words:
        if not isinstance(command, click.Group):
            break
        below = command.get_command(click.Context(command), word)
        if below is None:
            break
        way.append(command)
        command = below
    return command, way


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_command_line_names_a_command_and_options_that_there_are(page: Path) -> None:
    fenced = (
        line for kind in ("", "sh") for block in blocks(page, kind) for line in block.splitlines()
    )
    for line in (*fenced, *code_spans(page)):
        words = line.partition("  #")[0].split()
        if words[:1] != ["leadline"] or len(words) == 1:
            continue
        command, way = command_of(words[1:])
        assert way, line
        if isinstance(command, click.Group) and not command.invoke_without_command:
            assert all(word.startswith("-") for word in words[len(way) + 1 :]), line
        known = {
            o for one in (*way, command) for p in one.params for o in p.opts + p.secondary_opts
        }
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known | {"--help"}, line


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_call_in_the_text_is_in_the_reference(page: Path) -> None:
    reference = (ROOT / "docs/reference/http.md").read_text()
    listed = re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", reference, re.MULTILINE)
    assert len(listed) > 60
    calls = re.compile("|".join(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(one)) for one in listed))
    spans = (span.replace("$GATEWAY", "") for span in code_spans(page))
    for span in spans:
        if re.match(r"(GET|POST|PUT|DELETE) /", span):
            assert calls.fullmatch(span.partition("?")[0]), span


def test_the_override_for_a_second_replica_merges_onto_services_that_exist() -> None:
    (override,) = [yaml.safe_load(block) for block in blocks(ROOT / "docs/operate.md", "yaml")]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    replica = override["services"]["inference-2"]
    base = compose["services"][replica["extends"]["service"]]
    assert replica["extends"]["file"] == "docker-compose.yml"
    assert set(replica["networks"]) <= set(base["networks"])
    (own,), (shared,) = replica["volumes"], [v for v in base["volumes"] if "state" in v]
    assert own.split(":")[1] == shared.split(":")[1]
    assert own.split(":")[0] in override["volumes"]


def test_the_issuers_on_the_operating_page_are_settings_of_the_gateway() -> None:
    (listed,) = blocks(ROOT / "docs/operate.md", "json")
    (issuer,) = TypeAdapter(tuple[Issuer, ...]).validate_json(listed)
    assert issuer.principal_claim == "sub"


def test_the_scopes_on_the_operating_page_are_the_scopes() -> None:
    table = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs/operate.md").read_text(), re.MULTILINE)
    named = {scope for cell in table for scope in re.findall(r"`([a-z:]+)`", cell)}
    assert set(SCOPES) <= named


def test_the_architecture_names_every_top_level_folder_with_its_question() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert named == packages | {"deploy"}
    assert all(f"`{package}/`" in text for package in packages)
