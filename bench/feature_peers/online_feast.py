"""Feast with Redis, in process: ``python online_feast.py FOLDER SOCKET ENTITIES ROUNDS``."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from datetime import UTC, datetime

from bench.feature_peers.feast_repo import REFS, store


def main() -> None:
    folder, redis, entities, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    feast = store(folder, "file", redis)
    if not (folder / "materialized").exists():
        feast.materialize(datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
        (folder / "materialized").touch()
    report = {}
    for count in (1, 100):
        seconds = []
        for turn in range(int(rounds) // (1 if count == 1 else 10)):
            rows = [{"user": (turn * 37 + i) % entities} for i in range(count)]
            began = time.perf_counter()
            answer = feast.get_online_features(features=REFS, entity_rows=rows).to_dict()
            seconds.append(time.perf_counter() - began)
            assert len(answer["f0"]) == count
        report[str(count)] = seconds[len(seconds) // 10 :]
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
