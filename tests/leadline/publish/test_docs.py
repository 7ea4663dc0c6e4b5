"""The example of docs/publish.md, executed."""

import re
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from kit.clock import write_clock
from leadline.state import StateDir, write_private
from tests.leadline.fake_gateway import fake_gateway

PAGE = Path(__file__).parents[3] / "docs" / "publish.md"
FEATURES = """
from datetime import timedelta
from shared_features import Aggregate, Entity, FeatureService, Source, WindowView

customer = Entity("customer", keys={"customer": "string"})
visits = Source("visits", columns={"customer": "string", "minutes": "int64"})
customer_7d = WindowView(
    "customer_7d", customer, visits, timedelta(days=7), {"visits": Aggregate.count()}
)
churn = FeatureService("churn", refs=["customer_7d:visits"])
"""


def test_the_example_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_features.py").write_text(FEATURES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"visits": random.integers(0, 9, 600), "plan": random.choice(["basic", "plus"], 600)}
    )
    label = (random.random(600) < 0.2 + 0.6 * (frame["visits"] < 3)).astype(int).to_numpy()
    codes = np.column_stack([frame["visits"], frame["plan"] == "plus"]).astype(np.float32)
    fitted = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    fitted.fit(codes[:400], label[:400], categorical_feature=[1])
    names = {
        "fitted": fitted,
        "X_train": frame[:400],
        "X_held_back": frame[400:],
        "y_held_back": label[400:],
        "sha256_of_the_rows": "0" * 64,
        "commit": "0" * 40,
    }
    state = StateDir(tmp_path / ".leadline")
    state.make()
    write_clock(tmp_path / "clock", 0)
    with fake_gateway(tmp_path / "clock") as gateway:
        gateway.says["/v1/models/churn/versions"] = {"model": "churn", "version": "1"}
        write_private(state.endpoints_file, {"gateway": gateway.url})
        write_private(state.credentials_file, {"admin_key": "admin"})
        exec(example, names)  # noqa: S102 - it is our own page
    assert names["answer"] == {"model": "churn", "version": "1"}
    assert gateway.of("/v1/models/churn/versions")[0].body["bytes"] > 10_000
