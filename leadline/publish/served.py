"""A model's raw outputs as a caller is told of them, by the code that tells it.

What is compared with live traffic (the baseline, decisions that flip) is of these: a calibrated
model's raw scores are nobody's answer.
"""

import numpy as np

from contracts.manifest import Manifest
from inference.domain.post_process import PostProcessor, Verdicts
from leadline.publish.rows import Scores


def as_served(manifest: Manifest, scores: Scores) -> Verdicts:
    """``scores`` [n, outputs] post-processed; what exploration would draw is not of interest."""
    return PostProcessor(manifest).run(scores.astype(np.float32), np.random.default_rng(0))
