#!/usr/bin/env bash
# Re-makes the lock files (for maintainers): one for every environment, hashes for all
# platforms, no index URL; and the smaller set that the image of the services installs.
set -euo pipefail
uv="$1/uv"
export UV_CUSTOM_COMPILE_COMMAND="make lock"
common=(--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url)
extras=(--extra serve --extra registry --extra train --extra duckdb --extra embedded --extra dev)
"$uv" pip compile "${common[@]}" "${extras[@]}" pyproject.toml deploy/build.in -o requirements.lock
"$uv" pip compile "${common[@]}" --extra serve --extra registry -c requirements.lock \
  pyproject.toml -o deploy/requirements.lock
echo "uv" | "$uv" pip compile "${common[@]}" - -o deploy/bootstrap.lock
