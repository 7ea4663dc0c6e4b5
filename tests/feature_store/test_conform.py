"""Every rule case holds on every store and engine, and the runner notices when one does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.feature_store.conform import main, run

FILE = Path(__file__).parent / "cases" / "rules.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text())


@pytest.mark.parametrize("engine", ["numpy", "duckdb"])
@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_every_case_holds(store: str, engine: str) -> None:
    # one case of each kind is enough for the slower pairs; the rest is the same code
    few = {case["kind"]: case for case in CASES}
    cases = CASES if (store, engine) == ("memory", "numpy") else list(few.values())
    assert await run(cases, store, engine) == 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["numpy", "duckdb"])
async def test_every_case_holds_in_redis(engine: str) -> None:
    assert await run(CASES, "redis", engine) == 0


def wrong(case: dict[str, Any]) -> dict[str, Any]:
    """The case with its last wish spoilt."""
    spoilt: dict[str, Any] = json.loads(json.dumps(case))
    if case["kind"] == "ops":
        spoilt["ops"][-1][-1] = ["spoilt", "PRESENT"]
    else:
        spoilt["want"][-1] = ["spoilt", "PRESENT"]
    return spoilt


@pytest.mark.parametrize("kind", ["pit", "pit_iso", "ops", "win"])
async def test_a_wrong_wish_is_a_mismatch(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in CASES if case["kind"] == kind)
    assert await run([wrong(case)], "memory", "numpy") >= 1
    assert "wanted ('spoilt', 'PRESENT')" in capsys.readouterr().out


@pytest.mark.parametrize(("spoil", "status"), [(False, 0), (True, 1)])
def test_the_exit_status_says_whether_all_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: bool, status: int
) -> None:
    file = tmp_path / "cases.json"
    file.write_text(json.dumps([wrong(CASES[0]) if spoil else CASES[0]]))
    with pytest.raises(SystemExit) as ended:
        main([str(file), "--store", "memory", "--engine", "numpy"])
    assert ended.value.code == status
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("1 cases, ")
    assert last.endswith(" mismatches")
    assert (last == "1 cases, 0 mismatches") is not spoil
