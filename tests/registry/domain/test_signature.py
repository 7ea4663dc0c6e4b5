"""Which changes of a graph its callers would notice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.signature import FREE, Signature, Tensor, broken

shapes = st.none() | st.lists(st.integers(FREE, 4), max_size=3).map(tuple)
tensors = st.builds(
    Tensor,
    name=st.sampled_from(["a", "b", "c"]),
    datatype=st.sampled_from(["FP32", "INT64"]),
    shape=shapes,
)
several = st.lists(tensors, max_size=3, unique_by=lambda one: one.name).map(tuple)
signatures = st.builds(Signature, inputs=several, outputs=several)

X = Tensor(name="x", datatype="FP32", shape=(FREE, 4))
Y = Tensor(name="y", datatype="INT64", shape=(FREE,))
BEFORE = Signature(inputs=(X,), outputs=(Y,))


def _of(tensor: Tensor, **changes: object) -> Tensor:
    return tensor.model_copy(update=changes)


@given(signatures)
def test_the_same_signature_breaks_nobody(same: Signature) -> None:
    assert broken(same, same) == []


@given(signatures, signatures, signatures)
def test_who_can_call_the_next_can_call_the_one_after_it(
    one: Signature, two: Signature, three: Signature
) -> None:
    said = [t.shape for s in (one, two, three) for t in (*s.inputs, *s.outputs)]
    if None not in said and not broken(one, two) and not broken(two, three):
        assert broken(one, three) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Signature(inputs=(_of(X, name="z"),), outputs=(Y,)), "it takes no input x"),
        (Signature(inputs=(X, _of(X, name="z")), outputs=(Y,)), "it wants an input z, which"),
        (Signature(inputs=(_of(X, datatype="FP64"),), outputs=(Y,)),
         "it takes x as FP64 [-1, 4], not as FP32 [-1, 4]"),
        (Signature(inputs=(_of(X, shape=(FREE, 5)),), outputs=(Y,)), "it takes x as FP32 [-1, 5]"),
        (Signature(inputs=(_of(X, shape=(1, 4)),), outputs=(Y,)), "it takes x as FP32 [1, 4]"),
        (Signature(inputs=(_of(X, shape=(4,)),), outputs=(Y,)), "it takes x as FP32 [4]"),
        (Signature(inputs=(X,), outputs=(_of(Y, name="z"),)), "it gives no output y"),
        (Signature(inputs=(X,), outputs=(_of(Y, datatype="INT32"),)), "it gives y as INT32 [-1]"),
        (Signature(inputs=(X,), outputs=(_of(Y, shape=(FREE, 1)),)), "it gives y as INT64 [-1, 1]"),
    ],
)  # fmt: skip
def test_what_callers_would_notice_is_told(after: Signature, said: str) -> None:
    assert any(text.startswith(said) for text in broken(BEFORE, after)), broken(BEFORE, after)


def test_what_takes_more_and_gives_more_breaks_nobody() -> None:
    roomy = _of(X, shape=(FREE, FREE))
    after = Signature(inputs=(roomy,), outputs=(_of(Y, shape=(8,)), _of(Y, name="z")))
    assert broken(BEFORE, after) == []
    unsaid = Signature(inputs=(_of(X, shape=None),), outputs=(_of(Y, shape=None),))
    assert broken(BEFORE, unsaid) == []
