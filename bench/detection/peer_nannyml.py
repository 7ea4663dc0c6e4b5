"""Runs in NannyML's own environment: ``peer_nannyml.py TABLE.npz CHUNK REPEATS`` → JSON.

Univariate drift at its defaults; ``values`` are the live chunks' distances by column, ``limits``
the upper thresholds.
"""

import json
import os
import sys
import time

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
begun = time.perf_counter()
import nannyml  # type: ignore[import-not-found]  # noqa: E402  # in the peer's environment
import numpy as np  # noqa: E402  # imports are part of what is measured
import pandas as pd  # noqa: E402

import_s = time.perf_counter() - begun


def main(path: str, chunk: int, repeats: int) -> None:
    stored = np.load(path, allow_pickle=False)
    reference, live = (pd.DataFrame(stored[part]) for part in ("reference", "live"))
    names = [f"f{i}" for i in range(reference.shape[1])]
    reference.columns = live.columns = names
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        calculator = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=chunk)
        found = calculator.fit(reference).calculate(live).filter(period="analysis").to_df()
        seconds.append(time.perf_counter() - started)
    values = [found[(name, "jensen_shannon", "value")].tolist() for name in names]
    limits = [float(found[(name, "jensen_shannon", "upper_threshold")].iloc[0]) for name in names]
    print(
        json.dumps({"import_s": import_s, "seconds": seconds, "values": values, "limits": limits})
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
