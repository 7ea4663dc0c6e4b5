"""What a version's graph takes and gives, and whether callers of one can call another."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

FREE = -1


class Tensor(BaseModel):
    """An input or output of a graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: str
    """As the Open Inference Protocol names it."""
    shape: tuple[int, ...] | None
    """−1 where a dimension is free; None where the graph does not say."""

    @property
    def kind(self) -> str:
        """``FP32 [-1, 4]``."""
        return f"{self.datatype} {'' if self.shape is None else list(self.shape)}".rstrip()


class Signature(BaseModel):
    """Of one graph; constants are no inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def width(self, output: str | None) -> int:
        """How many numbers of a row an output [rows, numbers] holds; 0 where that is unknown."""
        shapes = [one.shape for one in self.outputs if one.name == output]
        return max([0, *(shape[1] for shape in shapes if shape is not None and len(shape) == 2)])


def broken(before: Signature, after: Signature) -> list[str]:
    """Why callers of ``before`` cannot call ``after``, in sentences; empty when they can.

    A caller sends exactly the inputs that it knows, and reads the outputs that it knows.
    """
    return [*_inputs_broken(before, after), *_outputs_broken(before, after)]


def _inputs_broken(before: Signature, after: Signature) -> Iterator[str]:
    sent = {one.name: one for one in before.inputs}
    taken = {one.name: one for one in after.inputs}
    for name in sorted(sent.keys() - taken.keys()):
        yield f"it takes no input {name}"
    for name, tensor in taken.items():
        known = sent.get(name)
        if known is None:
            yield f"it wants an input {name}, which they do not send"
        elif not _fits(known, tensor):
            yield f"it takes {name} as {tensor.kind}, not as {known.kind}"


def _outputs_broken(before: Signature, after: Signature) -> Iterator[str]:
    given = {one.name: one for one in after.outputs}
    for tensor in before.outputs:
        found = given.get(tensor.name)
        if found is None:
            yield f"it gives no output {tensor.name}"
        elif not _fits(found, tensor):
            yield f"it gives {tensor.name} as {found.kind}, not as {tensor.kind}"


def _fits(tensor: Tensor, place: Tensor) -> bool:
    """Whether whatever is a tensor of the one kind is one of the other's."""
    if tensor.datatype != place.datatype:
        return False
    if tensor.shape is None or place.shape is None:
        return True
    return len(tensor.shape) == len(place.shape) and all(
        wanted in (FREE, size) for size, wanted in zip(tensor.shape, place.shape, strict=True)
    )
