"""Everything that the entrance offers as a benchmark can be run as one."""

import ast
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def test_every_offered_benchmark_has_an_entrance() -> None:
    command = [sys.executable, "-m", "bench", "--help"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=BENCH.parent)
    text = " ".join(said.stdout.split())
    names = text.partition("among: ")[2].partition(" options:")[0].split(", ")
    assert "serving" in names
    for name in names:
        tree = ast.parse((BENCH / f"{name}.py").read_text())
        assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
            name
        )
