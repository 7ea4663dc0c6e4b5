"""``feast serve``, one worker: ``python serve_feast.py FOLDER REDIS PORT``, once materialized."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.feature_peers.feast_repo import store


def main() -> None:
    folder, redis, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    # 0: by default the worker is replaced every thousand requests, which would count against it
    store(folder, "file", redis).serve("127.0.0.1", port, max_requests=0, max_requests_jitter=0)


if __name__ == "__main__":
    main()
