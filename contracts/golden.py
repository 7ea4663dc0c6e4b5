"""The golden set: a few rows with the answers the original model gave, published with the version.

Stored as ``golden.json``. A replica that has loaded the graph feeds these tensors before it reports
ready: warm-up is a correctness check.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.manifest import Dtype


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GoldenTensor(_Frozen):
    """One tensor, its first axis the rows; NaN is written as null."""

    dtype: Dtype
    shape: tuple[int, ...]
    values: tuple[float | int | bool | str | None, ...]
    """Flat, row-major."""


class GoldenSet(_Frozen):
    """``golden.json``. Rows are independent: any run of them may be fed as a batch."""

    schema_version: Literal[1] = 1
    rows: int = Field(ge=1, le=1_000)
    inputs: dict[str, GoldenTensor]
    """By input name of the ONNX graph, in the layout that the manifest declares."""
    outputs: dict[str, GoldenTensor]
    """By output name, before post-processing, as the original model answers."""
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest absolute difference allowed."""
