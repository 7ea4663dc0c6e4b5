import time

import numpy as np
import pytest

from leadline.demo.broken import slowed, wrong
from leadline.publish.bundle import Bundle
from leadline.publish.graph import Runner
from leadline.publish.publication import Publication, build
from leadline.publish.rows import take
from tests.leadline.publish.flowers import COLOURS, INPUTS, TRAINING, flowers


@pytest.fixture(scope="module")
def good() -> Bundle:
    import lightgbm

    seen, unseen = flowers().train(), flowers().held_back()
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(seen.matrix(), seen.labels)
    return build(
        Publication(
            name="flower",
            model=model,
            inputs=INPUTS,
            sample=seen.rows,
            validation=unseen.rows,
            labels=unseen.labels,
            training=TRAINING,
            categories={"colour": COLOURS},
        )
    )


def _seconds(runner: Runner) -> float:
    feeds = runner.feeds(take(flowers().rows, slice(0, 1)))
    runner.run(feeds)
    began = time.perf_counter()
    runner.run(feeds)
    return time.perf_counter() - began


def test_the_slow_version_answers_the_same_later(good: Bundle) -> None:
    slow = slowed(good)
    layout = good.manifest.tensors.layout
    runners = [Runner(bundle.files["model.onnx"], INPUTS, layout) for bundle in (good, slow)]
    rows = flowers().held_back().rows
    assert np.array_equal(runners[0].score(rows), runners[1].score(rows))
    assert _seconds(runners[1]) > 20 * _seconds(runners[0])
    entry = slow.manifest.file("model.onnx")
    assert entry is not None
    assert entry.size_bytes == len(slow.files["model.onnx"])
    assert entry != good.manifest.file("model.onnx")


def test_the_wrong_version_has_its_classes_swapped_and_nothing_else(good: Bundle) -> None:
    bad = wrong(good)
    assert bad.files == good.files
    calibration = bad.manifest.post_processing.calibration
    assert calibration is not None
    scores = np.linspace(0, 1, 11)
    swapped = np.interp(scores, calibration.scores, calibration.probabilities)
    np.testing.assert_allclose(swapped, 1 - scores)
