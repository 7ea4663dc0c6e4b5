"""Other drift tools as installed packages, each in an environment of its own."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.environments import Peer, environment_of
from monitor.domain.edges import Floats

_SCRIPTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Package:
    """A tool and the script that asks it."""

    name: str
    requirements: tuple[str, ...]
    script: str

    def ask(self, table: Path, mode: str, repeats: int) -> dict[str, Any]:
        """What the script printed: import_s, seconds, values. Raises ``CalledProcessError`` when
        the package cannot be installed or fails."""
        home = environment_of(Peer(self.name, self.requirements, (), ""))
        said = subprocess.run(
            [str(home / "python"), "-W", "ignore", self.script, str(table), mode, str(repeats)],
            cwd=_SCRIPTS, check=True, capture_output=True, text=True,
            env={**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1",
                 "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
        return answer


EVIDENTLY = Package("evidently", ("evidently==0.7.23", "pandas<3"), "peer_evidently.py")
ALIBI = Package("alibi-detect", ("alibi-detect==0.13.0",), "peer_alibi.py")
NANNYML = Package("nannyml", ("nannyml==0.13.1", "pandas<3", "statsmodels"), "peer_nannyml.py")


def write_table(path: Path, reference: Floats, live: Floats) -> None:
    """Rows [n, columns] of both sides, where the scripts read them."""
    np.savez(path, reference=reference, live=live)
