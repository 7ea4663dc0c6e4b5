#!/usr/bin/env bash
# Makes the virtual environment from the locked, hashed requirements.
# uv does the work because it is ten times faster than pip; pip does it where uv cannot run.
set -euo pipefail
python=$1 venv=$2

"$python" - <<'P' || { echo "Leadline needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
P
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
rm -f "$venv"/.ready-*
pip=("$venv/bin/python" -m pip --disable-pip-version-check)

step() { printf '  %-58s' "$1"; start=$SECONDS; }
done_() { printf '%4d s\n' $((SECONDS - start)); }

step "environment: the installer"
"${pip[@]}" install --quiet --require-hashes -r deploy/bootstrap.lock 2>&1 | grep -v '^WARNING' >&2 || true
done_

# uv does not read pip's configuration, so a mirror that was set for pip is handed on.
index=$("${pip[@]}" config get global.index-url 2>/dev/null || true)
[ -n "$index" ] || index=$("${pip[@]}" config get :env:.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"

step "environment: $(grep -c '==' requirements.lock) locked packages"
if ! "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r requirements.lock; then
  "${pip[@]}" install --quiet --require-hashes -r requirements.lock
fi
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable . 2>/dev/null \
  || "${pip[@]}" install --quiet --no-deps --no-build-isolation --editable .
done_
