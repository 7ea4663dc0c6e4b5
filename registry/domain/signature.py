"""What a version's graph takes and gives: whether that is what its manifest says, and whether
callers of one can call another."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from contracts.manifest import Manifest

FREE = -1
_DATATYPES = {
    "float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "bool": "BOOL",
    "string": "BYTES",
}  # fmt: skip


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


def misfits(manifest: Manifest, signature: Signature) -> Iterator[str]:
    """Where the graph is not what the manifest says of it; every call would fail, or mislead."""
    outputs = {one.name for one in signature.outputs}
    tensors = manifest.tensors
    for name in (tensors.probability, tensors.value):
        if name is not None and name not in outputs:
            yield f"has no output {name}; it has {', '.join(sorted(outputs))}"
    if tensors.layout != "raw":
        yield from _unfed(manifest, {one.name: one for one in signature.inputs})
    labels, width = manifest.post_processing.labels, signature.width(tensors.probability)
    if labels and width and len(labels) != max(width, 2):
        yield f"tells {max(width, 2)} classes apart, and the manifest names {len(labels)}"


def _unfed(manifest: Manifest, taken: dict[str, Tensor]) -> Iterator[str]:
    """What a replica would feed, as ``contracts.manifest.Tensors`` lays it out, against what the
    graph takes; the first axis is the rows'."""
    if manifest.tensors.layout == "matrix":
        fed = {manifest.tensors.input: ("FP32", len(manifest.inputs))}
    else:
        fed = {column.name: (_DATATYPES[column.dtype], 1) for column in manifest.inputs}
    if fed.keys() != taken.keys():
        names, described = (", ".join(sorted(some)) for some in (taken, fed))
        yield f"takes {names}, but the manifest describes {described}"
        return
    for name, (datatype, width) in fed.items():
        place = taken[name]
        fits = place.shape is None or (len(place.shape) == 2 and place.shape[1] in (FREE, width))
        if place.datatype != datatype or not fits:
            told = Tensor(name=name, datatype=datatype, shape=(FREE, width))
            yield f"takes {name} as {place.kind}, but the manifest describes {told.kind}"


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
