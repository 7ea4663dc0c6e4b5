"""What a process asks of the system before it serves."""

import subprocess
import sys

CODE = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
from kit.serve import use_all_files
use_all_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most))
"""


def test_a_service_may_open_as_many_files_as_the_system_allows() -> None:
    said = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "True"
