from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemCode
from gateway.domain.head import HeadLimits, fault_in_head, fault_in_target

HOST = (b"host", b"x")
LIMITS = HeadLimits()
PIECES = st.lists(
    st.sampled_from(
        [
            b"/",
            b".",
            b"..",
            b"a",
            b"%2e",
            b"%2F",
            b"%5c",
            b"%00",
            b"%c3%ab",
            b"%ff",
            b"%",
            b"?",
            b"v1",
        ]
    ),
    max_size=8,
).map(b"".join)


@given(PIECES)
def test_a_path_that_passes_means_one_thing(target: bytes) -> None:
    target = b"/" + target
    if fault_in_target(target) is None:
        path = target.partition(b"?")[0]
        decoded = unquote_to_bytes(path)
        assert decoded.count(b"/") == path.count(b"/")
        assert not {b".", b".."} & set(decoded.split(b"/"))
        assert b"//" not in decoded
        assert b"\0" not in decoded
        decoded.decode()


@given(
    st.sampled_from(["0.9", "1.0", "1.1", "2.0"]),
    st.binary(max_size=40),
    st.lists(
        st.tuples(
            st.sampled_from([b"host", b"content-length", b"transfer-encoding", b"upgrade", b"x"]),
            st.sampled_from([b"", b"x", b"5", b"chunked", b"gzip, chunked", b"-1"]),
        ),
        max_size=5,
    ),
)
def test_a_head_that_passes_frames_its_body_in_one_way(
    version: str, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    fault = fault_in_head(version, target, headers, LIMITS)
    names = [name for name, _ in headers]
    framings = names.count(b"content-length") + names.count(b"transfer-encoding")
    if fault is None:
        assert names.count(b"host") == 1
        assert framings <= 1
        assert dict(headers).get(b"transfer-encoding", b"chunked") == b"chunked"
        assert b"upgrade" not in names
    else:
        assert fault[0] in ProblemCode


def test_sizes_are_limited_each_and_in_all() -> None:
    def code(target: bytes, headers: list[tuple[bytes, bytes]]) -> ProblemCode | None:
        fault = fault_in_head("1.1", target, [HOST, *headers], LIMITS)
        return fault[0] if fault else None

    assert code(b"/a", [(b"x", b"y" * 8000)] * 3) is None
    assert code(b"/a", [(b"x", b"y" * 8192)]) is ProblemCode.HEADERS_TOO_LARGE
    assert code(b"/a", [(b"x", b"y" * 8000)] * 5) is ProblemCode.HEADERS_TOO_LARGE
    assert code(b"/a", [(b"x", b"y")] * 100) is ProblemCode.HEADERS_TOO_LARGE
    assert code(b"/" + b"a" * 8192, []) is ProblemCode.URI_TOO_LONG
