"""Requests byte by byte: those that no HTTP client would send, and what answers say."""

import orjson

BODY = b'{"model":"delay","instances":[{"carrier":"UA"}]}'

MALFORMED = [
    ("no host", b"GET /healthz HTTP/1.1\r\n\r\n"),
    ("empty host", b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"),
    ("two hosts", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("host with a space", b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("HTTP/0.9", b"GET /healthz\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/1.2", b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n"),
    ("absolute form", b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("CONNECT", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    (
        "CL and TE",
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"
            b"\r\n\r\n0\r\n\r\n"
        ),
    ),
    (
        "TE and CL",
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4"
            b"\r\n\r\n0\r\n\r\n"
        ),
    ),
    (
        "TE of two codings",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE unknown",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE twice",
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ),
    (
        "space before the colon",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ),
    ("length list", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}"),
    ("signed length", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}"),
    ("negative length", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}"),
    (
        "bad chunk size",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ),
    (
        "bad chunk end",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n",
    ),
    ("folded header", b"GET /healthz HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n"),
    ("NUL in a header", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
    ("bare line feeds", b"GET /healthz HTTP/1.1\nHost: x\n\n"),
    (
        "upgrade",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    ("escaped dots", b"GET /v1/%2e%2e/healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("dots", b"GET /v1/../healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("escaped slash", b"GET /v1%2Fmodels HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("escaped backslash", b"GET /v1%5cmodels HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("escaped NUL", b"GET /v1/models%00 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("not UTF-8", b"GET /v1/%ff HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("no escape", b"GET /v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a fragment", b"GET /healthz#a HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("two slashes", b"GET //healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
    ("zeros", b"\0" * 100),
]

TOO_LARGE = [
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
    (b"GET /" + b"a" * 200_000, 414, "uri-too-long"),
    (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        431,
        "headers-too-large",
    ),
    (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        431,
        "headers-too-large",
    ),
    (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        + b"".join(b"X%d: %s\r\n" % (i, b"a" * 4000) for i in range(9))
        + b"\r\n",
        431,
        "headers-too-large",
    ),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 300_000, 431, "headers-too-large"),
    (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n",
        413,
        "content-too-large",
    ),
    (
        b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n",
        413,
        "content-too-large",
    ),
    (
        b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8000\r\n%b\r\n8001\r\n%b\r\n0\r\n\r\n" % (b"a" * 0x8000, b"a" * 0x8001),
        413,
        "content-too-large",
    ),
]

TRAILERS = [
    ("a trailer", b"2\r\n{}\r\n0\r\nX-Leadline-Principal: admin\r\n\r\n", "malformed-http"),
    ("an endless trailer", b"2\r\n{}\r\n0\r\nX: " + b"a" * 400_000, "content-too-large"),
    ("an endless extension", b"2;" + b"a" * 400_000, "content-too-large"),
]


def predict(key: str, *, extra: bytes = b"", body: bytes = BODY, close: bool = True) -> bytes:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key.encode()
    head += b"\r\nContent-Length: %d\r\n" % len(body) + extra
    return head + (b"Connection: close\r\n\r\n" if close else b"\r\n") + body


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def problem_of(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return str(orjson.loads(body)["code"])
