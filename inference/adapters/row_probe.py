"""Asks a model made-up rows, alone and together: is each row answered for itself?"""

from collections.abc import Iterator

import numpy as np

from inference.adapters.session_onnxruntime import OnnxSession, by_row
from inference.domain.fleet import Tensor, TensorSpec

_ROWS = 4
_FREE_SIZES = (4, 32, 1)
"""What the other free axes are given, in turn: a sequence, an image, a width."""
_NEAR = 1e-3
"""Single precision differs by 1e-6 between batch sizes; what mixes rows by far more."""
_NUMPY_OF = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_}


def rows_are_apart(session: OnnxSession) -> bool:
    """Whether the answer to a row hangs on that row only, as far as made-up rows show.

    A first axis that is free need not be one of rows: a graph may centre over it, or read it as
    time. Its calls must not share a run, nor be cut. A model that computes none of the made-up
    rows is taken at its word.
    """
    for feeds in _made_up(session.inputs):
        try:
            together = session.run(feeds)
        except Exception:  # noqa: BLE001, S112 - ONNX Runtime's share no narrower public class
            continue
        return by_row(together, _ROWS) and _alike(session, feeds, together)
    return True


def _alike(session: OnnxSession, feeds: dict[str, Tensor], together: list[Tensor]) -> bool:
    for row in range(_ROWS):
        here = slice(row, row + 1)
        try:
            alone = session.run({name: value[here] for name, value in feeds.items()})
        except Exception:  # noqa: BLE001 - as above
            return False
        if not all(_near(one, many[here]) for one, many in zip(alone, together, strict=True)):
            return False
    return True


def _near(alone: Tensor, together: Tensor) -> bool:
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind not in "fiu":
        return bool((alone == together).all())
    first, second = alone.astype(np.float64), together.astype(np.float64)
    scale = float(np.abs(np.nan_to_num(first)).max(initial=0.0))
    return bool(np.isclose(first, second, _NEAR, _NEAR * scale, equal_nan=True).all())


def _made_up(specs: tuple[TensorSpec, ...]) -> Iterator[dict[str, Tensor]]:
    random = np.random.default_rng(0)
    free = any(-1 in spec.shape[1:] for spec in specs)
    for size in _FREE_SIZES[: None if free else 1]:
        yield {spec.name: _tensor(random, spec, size) for spec in specs}


def _tensor(random: np.random.Generator, spec: TensorSpec, size: int) -> Tensor:
    """Fractions of both signs; of whole numbers 0 and 1, which most tables have entries for."""
    shape = (_ROWS, *(size if one == -1 else one for one in spec.shape[1:]))
    if spec.datatype in {"FP16", "FP32", "FP64"}:
        return random.normal(size=shape).astype(_NUMPY_OF[spec.datatype])
    bits = random.integers(0, 2, shape)
    if spec.datatype == "BYTES":
        return np.array(["a", "b"], object)[bits]
    return bits.astype(_NUMPY_OF.get(spec.datatype) or spec.datatype.lower())
