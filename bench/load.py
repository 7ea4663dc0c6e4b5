"""Load from ``wrk`` (Debian package): closed loop, bounded in time, on this machine only."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
local requests, at = {}, 0
wrk.method = "POST"
if not wrk.headers["Content-Type"] then wrk.headers["Content-Type"] = "application/json" end
if os.getenv("KEY") then wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY") end
init = function()  -- once: written anew each time, a request would cost as much as an answer
  for line in io.lines(os.getenv("BODIES")) do
    local body = line:gsub("..", function(hex) return string.char(tonumber(hex, 16)) end)
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the load generator."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    requests: int


def closed_loop(
    url: str,
    bodies: Sequence[str | bytes],
    *,
    connections: int,
    seconds: float,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Measured:
    """Keep ``connections`` requests under way for ``seconds``. Raises when wrk is not there."""
    named = [f"-H{name}: {value}" for name, value in (headers or {}).items()]
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("the load generator wrk is missing (Debian package wrk)")
    with tempfile.TemporaryDirectory() as folder:
        script, lines = Path(folder) / "ask.lua", Path(folder) / "bodies"
        script.write_text(_SCRIPT)
        raw = [body.encode() if isinstance(body, str) else body for body in bodies]
        lines.write_text("".join(f"{body.hex()}\n" for body in raw))
        environment = {**os.environ, "BODIES": str(lines), **({"KEY": key} if key else {})}
        command = [
            wrk,
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "5s",
            *named,
        ]
        said = subprocess.run(
            [*command, "-s", str(script), url],
            check=True, capture_output=True, text=True, env=environment,
        ).stdout  # fmt: skip
    found = json.loads(said[said.index("RESULT") + 7 :].splitlines()[0])
    return Measured(
        requests_per_s=found["requests"] / (found["duration_us"] / 1e6),
        p50_ms=found["p50_us"] / 1000,
        p99_ms=found["p99_us"] / 1000,
        errors=found["errors"],
        requests=found["requests"],
    )


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and its threads have used (user and system)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
