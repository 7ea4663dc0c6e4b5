"""The set of packages that the image installs is enough for every process in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.compose import ROOT, SERVICES

LOCKS = ("requirements.lock", "deploy/requirements.lock", "deploy/build.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    blocks = [block for block in text.split("\n") if "==" in block and not block.startswith(" ")]
    assert blocks
    assert all(line.rstrip().endswith("\\") for line in blocks)
    assert "--hash=sha256:" in text
    assert "index-url" not in text
    assert "://" not in text


def test_what_the_image_installs_is_what_the_tests_ran_with() -> None:
    def pins(lock: str) -> set[str]:
        lines = (ROOT / lock).read_text().splitlines()
        return {line.split(" ")[0].lower() for line in lines if "==" in line and line[0].isalnum()}

    assert pins("deploy/requirements.lock") <= pins("requirements.lock")
    assert pins("deploy/build.lock") <= pins("requirements.lock")


@pytest.mark.slow
def test_a_clean_environment_of_the_locked_set_imports_every_process(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    python = tmp_path / "venv/bin/python"

    def run(*command: str | Path, cwd: Path = ROOT) -> str:
        result = subprocess.run(
            command, cwd=cwd, check=False, capture_output=True, text=True, timeout=900
        )
        assert result.returncode == 0, result.stderr[-4000:]
        return result.stdout

    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", python]
    run(*install, "--require-hashes", "--only-binary", ":all:", "-r", "deploy/requirements.lock")
    # A copy, because building in place would leave files in the working tree.
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".*", "__pycache__", "build", "bench", "tests")
    shutil.copytree(ROOT, source, ignore=ignore)
    run(*install, "--no-deps", source)
    modules = [f"{package}.app" for package in SERVICES.values()]
    program = f"import importlib; [importlib.import_module(m) for m in {modules!r}]"
    run(python, "-c", program, cwd=tmp_path)
    assert "Usage" in run(tmp_path / "venv/bin/leadline", "init", "--help", cwd=tmp_path)
    run(python, "-c", "import psycopg, mlflow.server", cwd=tmp_path)
