"""Runs in Evidently's own environment: ``peer_evidently.py TABLE.npz METHOD REPEATS`` → JSON.

METHOD is ``ks``, or ``default`` for what Evidently picks itself.
"""

import json
import sys
import time

begun = time.perf_counter()
import numpy as np  # noqa: E402  # imports are part of what is measured
import pandas as pd  # noqa: E402
from evidently import (  # type: ignore[import-not-found]  # noqa: E402  # in the peer's environment
    Report,
)
from evidently.presets import (  # type: ignore[import-not-found]  # noqa: E402
    DataDriftPreset,
)

import_s = time.perf_counter() - begun


def main(path: str, method: str, repeats: int) -> None:
    stored = np.load(path, allow_pickle=False)
    reference, live = (pd.DataFrame(stored[part]) for part in ("reference", "live"))
    reference.columns = live.columns = [f"f{i}" for i in range(reference.shape[1])]
    preset = {} if method == "default" else {"num_method": method}
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = Report([DataDriftPreset(**preset)]).run(live, reference).dict()
        seconds.append(time.perf_counter() - started)
    values = [
        float(metric["value"]) for metric in found["metrics"] if isinstance(metric["value"], float)
    ]
    print(json.dumps({"import_s": import_s, "seconds": seconds, "values": values}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
