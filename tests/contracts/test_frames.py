"""The frame protocol survives any cutting of the stream, and any garbage."""

import contextlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.frames import (
    Answer,
    Ask,
    FrameError,
    FrameKind,
    FrameReader,
    pack_answer,
    pack_ask,
    pack_signal,
    unpack_answer,
    unpack_ask,
)

text = st.text(max_size=40)
asks = st.builds(
    Ask,
    remaining_ms=st.integers(0, 2**32 - 1),
    request_id=st.binary(min_size=16, max_size=16),
    target=text,
    principal=text,
    traceparent=text,
    headers=st.binary(max_size=60),
    body=st.binary(max_size=200),
    explain=st.booleans(),
    rows_max=st.integers(0, 2**32 - 1),
)
answers = st.builds(
    Answer,
    status=st.integers(100, 599),
    body=st.binary(max_size=200),
    retryable=st.booleans(),
    headers=st.binary(max_size=60),
    rows=st.integers(0, 2**32 - 1),
    spent_us=st.integers(0, 2**32 - 1),
)


@given(asks)
def test_an_ask_comes_back_as_it_was(ask: Ask) -> None:
    ((kind, frame_id, payload),) = FrameReader().feed(pack_ask(FrameKind.PREDICT, 7, ask))
    assert (kind, frame_id, unpack_ask(payload)) == (FrameKind.PREDICT, 7, ask)


@given(answers)
def test_an_answer_comes_back_as_it_was(answer: Answer) -> None:
    ((kind, frame_id, payload),) = FrameReader().feed(
        pack_answer(2**64 - 1, answer, answer.spent_us)
    )
    assert (kind, frame_id, unpack_answer(payload)) == (FrameKind.ANSWER, 2**64 - 1, answer)


@given(st.lists(answers, max_size=5), st.lists(st.integers(0, 900), max_size=8))
def test_frames_do_not_depend_on_how_the_stream_is_cut(sent: list[Answer], cuts: list[int]) -> None:
    stream = b"".join(pack_answer(i, answer, answer.spent_us) for i, answer in enumerate(sent))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = FrameReader()
    got = [frame for begin, end in pairwise(edges) for frame in reader.feed(stream[begin:end])]
    assert [unpack_answer(payload) for _, _, payload in got] == sent


@given(st.binary(max_size=300))
def test_garbage_is_a_frame_error_or_nothing(garbage: bytes) -> None:
    reader = FrameReader()
    try:
        for kind, _, payload in reader.feed(garbage):
            (unpack_answer if kind == FrameKind.ANSWER else unpack_ask)(payload)
    except FrameError:
        return


@given(st.sampled_from([unpack_ask, unpack_answer]), st.binary(max_size=300))
def test_a_garbled_payload_is_a_frame_error_or_holds_no_more_than_came(
    unpack: Callable[[bytes], Ask | Answer], garbage: bytes
) -> None:
    with contextlib.suppress(FrameError):
        found = unpack(garbage)
        assert len(found.body) + len(found.headers) <= len(garbage)


def test_a_giant_frame_is_refused_before_it_arrives() -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(b"\xff\xff\xff\xff" + bytes(9)))


def test_a_signal_has_no_payload() -> None:
    assert list(FrameReader().feed(pack_signal(FrameKind.GOAWAY))) == [(FrameKind.GOAWAY, 0, b"")]
