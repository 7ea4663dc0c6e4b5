"""What no replica could answer is refused before it is sent."""

import numpy as np
import pytest

from contracts.manifest import InputColumn
from leadline.publish.golden import golden_set
from leadline.publish.graph import Runner
from leadline.publish.original import PublishError
from leadline.publish.rows import Rows, Scores
from tests.inference.raw_models import total_model

INPUTS = [InputColumn(name=name, dtype="float32", source=f"request:{name}") for name in ("a", "b")]
ROWS = {name: np.linspace(0, 1, 80, dtype=np.float32) for name in ("a", "b")}


def test_a_row_that_is_answered_otherwise_beside_others_is_refused() -> None:
    def centred(rows: Rows) -> Scores:
        return np.asarray(rows["a"] - rows["a"].mean(), np.float64)[:, None]

    with pytest.raises(PublishError, match="depends on the rows beside it: alone, "):
        golden_set("y", "matrix", centred, centred, ROWS, INPUTS, tolerance=1e-4)


def test_a_graph_that_answers_another_number_of_rows_is_refused() -> None:
    runner = Runner(total_model(), INPUTS, "matrix")
    runner.input_name = "x"
    with pytest.raises(PublishError, match="The export answers 1 of 80 rows"):
        runner.score(ROWS)
