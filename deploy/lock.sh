#!/usr/bin/env bash
# Re-makes the lock files (for maintainers): one for every environment, hashes for all
# platforms, no index URL; and the smaller set that the image of the services installs.
set -euo pipefail
uv="$1/uv"
export UV_CUSTOM_COMPILE_COMMAND="make lock"
common=(--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url)
extras=()
for extra in serve registry train postgres duckdb embedded dev; do extras+=(--extra "$extra"); done
"$uv" pip compile "${common[@]}" "${extras[@]}" pyproject.toml deploy/build.in -o requirements.lock
"$uv" pip compile "${common[@]}" --extra serve --extra registry --extra postgres \
  -c requirements.lock pyproject.toml -o deploy/requirements.lock
"$uv" pip compile "${common[@]}" -c requirements.lock deploy/build.in -o deploy/build.lock
echo "uv" | "$uv" pip compile "${common[@]}" - -o deploy/bootstrap.lock
