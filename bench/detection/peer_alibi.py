"""Runs in alibi-detect's own environment: ``peer_alibi.py TABLE.npz ks REPEATS`` → JSON."""

import json
import sys
import time

begun = time.perf_counter()
import numpy as np  # noqa: E402  # imports are part of what is measured
from alibi_detect.cd import (  # type: ignore[import-not-found]  # noqa: E402  # in the peer's environment
    KSDrift,
)

import_s = time.perf_counter() - begun


def main(path: str, repeats: int) -> None:
    stored = np.load(path, allow_pickle=False)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        detector = KSDrift(stored["reference"], p_val=0.05)
        found = detector.predict(stored["live"])["data"]
        seconds.append(time.perf_counter() - started)
    values = [float(value) for value in found["p_val"]]
    print(json.dumps({"import_s": import_s, "seconds": seconds, "values": values}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
