import gzip
import zlib
from pathlib import Path

import orjson
import pytest

from contracts.frames import Answer
from contracts.problems import ProblemCode
from gateway.infer import inflate, rows_in
from kit.problems import Problem
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway
from tests.polling import until

BODY = {"inputs": [{"name": "x", "shape": [7, 4], "datatype": "FP32", "data": [0.0] * 28}]}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_call_goes_on_as_it_came(gateway: Running, key: str, replica: FakeReplica) -> None:
    tail = b"\x00\x01\x02\xff" * 10
    head = orjson.dumps(BODY)
    replica.rule = lambda kind, ask: Answer(
        200,
        ask.body,
        headers=b"content-type: application/octet-stream\ninference-header-content-length: 5\n",
    )
    headers = {**bearer(key), "inference-header-content-length": str(len(head))}
    answer = await gateway.http.post(
        "/v2/models/delay/versions/1/infer?a=b", content=head + tail, headers=headers
    )
    assert answer.status_code == 200
    assert answer.content == head + tail
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["inference-header-content-length"] == "5"
    asked = replica.asked[-1]
    assert asked.target == "POST /v2/models/delay/versions/1/infer?a=b"
    assert f"inference-header-content-length: {len(head)}\n".encode() in asked.headers
    assert b"authorization" not in asked.headers


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_body_is_undone_here(
    gateway: Running, key: str, replica: FakeReplica, encoding: str, pack: object
) -> None:
    assert callable(pack)
    headers = {**bearer(key), "content-encoding": encoding}
    answer = await gateway.http.post(
        "/v2/models/delay/infer", content=pack(orjson.dumps(BODY)), headers=headers
    )
    assert answer.status_code == 200
    assert orjson.loads(replica.asked[-1].body) == BODY
    assert b"content-encoding" not in replica.asked[-1].headers


async def test_health_is_open_and_models_are_not(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    live = await gateway.http.get("/v2/health/live")
    assert (live.status_code, live.json()["target"]) == (200, "GET /v2/health/live")
    for path in ("/v2", "/v2/models/delay", "/v2/models/delay/ready"):
        refused = await gateway.http.get(path)
        assert refused.status_code == 401
        assert list(refused.json()) == ["error"]
        assert (await gateway.http.get(path, headers=bearer(key))).status_code == 200
    assert replica.asked[-1].principal == "ann"


async def test_a_probe_may_ask_without_wanting_the_body(
    gateway: Running, replica: FakeReplica
) -> None:
    answer = await gateway.http.head("/v2/health/ready")
    assert (answer.status_code, answer.content) == (200, b"")
    assert replica.asked[-1].target == "GET /v2/health/ready"


async def test_inference_says_which_methods_a_path_takes(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    headers = b"content-type: application/json\nallow: POST"
    replica.rule = lambda kind, ask: Answer(405, b'{"error":"use POST"}', headers=headers)
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await gateway.http.request(method, "/v2/models/delay/infer", headers=bearer(key))
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), method
        assert replica.asked[-1].target == f"{method} /v2/models/delay/infer"
    probe = await gateway.http.post("/v2/health/live")
    assert (probe.status_code, probe.headers["allow"]) == (405, "GET, HEAD")


async def test_a_narrow_key_asks_its_model_only(
    state: Path, redis_url: str, replica: FakeReplica
) -> None:
    narrow = make_key(state, "bob", "predict:delay")
    reader = make_key(state, "eve", "monitor:read")
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        post = gateway.http.post
        assert (await post("/v2/models/delay/infer", headers=bearer(narrow))).status_code == 200
        assert (await post("/v2/models/other/infer", headers=bearer(narrow))).status_code == 403
        assert (await gateway.http.get("/v2", headers=bearer(narrow))).status_code == 200
        assert (await gateway.http.get("/v2", headers=bearer(reader))).status_code == 403


@pytest.mark.parametrize(
    "target",
    ["POST /v2/repository/index", "POST /v2/repository/%69ndex/", "GET /v2/models/stats"],
)
async def test_a_narrow_key_learns_of_no_other_model(
    state: Path, redis_url: str, replica: FakeReplica, target: str
) -> None:
    narrow, wide = make_key(state, "bob", "predict:stats"), make_key(state, "ann", "predict")
    method, path = target.split(" ")
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        refused = await gateway.http.request(method, path, headers=bearer(narrow))
        assert (refused.status_code, replica.asked) == (403, [])
        told = await gateway.http.request(method, path, headers=bearer(wide))
        assert (told.status_code, len(replica.asked)) == (200, 1)


async def test_a_call_costs_its_rows(state: Path, redis_url: str, replica: FakeReplica) -> None:
    small = make_key(state, "bob", "predict", quota_rows=10, window_s=60)
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        ask = {"url": "/v2/models/delay/infer", "json": BODY, "headers": bearer(small)}
        first = await gateway.http.post(**ask)  # type: ignore[arg-type]
        assert first.headers["ratelimit"].startswith('"default";r=3;')
        second = await gateway.http.post(**ask)  # type: ignore[arg-type]
        assert (second.status_code, list(second.json())) == (429, ["error"])
        assert second.headers["retry-after"] == "24"
        assert second.headers["ratelimit"] == '"default";r=3;t=42'


async def test_a_failure_of_ours_costs_nothing(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.rule = lambda kind, ask: Answer(500, b'{"error":"broken"}')
    answer = await gateway.http.post("/v2/models/delay/infer", json=BODY, headers=bearer(key))
    assert answer.json() == {"error": "broken"}
    assert answer.headers["ratelimit"].startswith('"default";r=600000;')


async def test_a_late_answer_is_an_error_text(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.rule = lambda kind, ask: None
    headers = {**bearer(key), "x-request-timeout-ms": "30"}
    answer = await gateway.http.post("/v2/models/delay/infer", json=BODY, headers=headers)
    assert (answer.status_code, list(answer.json())) == (504, ["error"])


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (gzip.compress(b"\0" * 2_000_000, mtime=0), "gzip", ProblemCode.CONTENT_TOO_LARGE),
        (zlib.compress(b"\0" * 2_000_000), "deflate", ProblemCode.CONTENT_TOO_LARGE),
        (gzip.compress(b"abc", mtime=0)[:-4], "gzip", ProblemCode.MALFORMED_HTTP),
        (gzip.compress(b"abc", mtime=0) + b"x", "gzip", ProblemCode.MALFORMED_HTTP),
        (b"abc", "gzip", ProblemCode.MALFORMED_HTTP),
        (b"abc", "br", ProblemCode.UNSUPPORTED_MEDIA_TYPE),
        (b"abc", "gzip, gzip", ProblemCode.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_a_bomb_or_a_broken_body_is_refused(body: bytes, encoding: str, code: ProblemCode) -> None:
    with pytest.raises(Problem) as caught:
        inflate(body, encoding, 1_000_000)
    assert caught.value.code is code


def test_rows_are_the_largest_first_dimension_told() -> None:
    assert rows_in(b'{"inputs":[{"shape":[3,4]},{ "shape" : [ 12, 1]}]}') == 12
    assert rows_in(b"") == rows_in(b"\xff" * 100) == rows_in(b'{"shape":[0]}') == 1
    assert rows_in(b'{"shape":[9999999]}') == 10_000


def test_only_the_json_part_says_how_many_rows() -> None:
    head = b'{"inputs":[{"shape":[3,4]}]}'
    for tail in (b"", b'{"shape":[900]}'):
        assert rows_in(head + tail, len(head)) == 3
    assert rows_in(head + b'{"shape":[900]}', 10_000) == 900  # no such length: all of it may count
    assert rows_in(head, 0) == 1


def test_an_escaped_name_is_no_way_around_the_cost() -> None:
    tensor = b'"name":"x\\"y","datatype":"UINT8","data":[1]'
    for name in (b'"sh\\u0061pe"', b'"\\u0073hape"', b'"shap\\u0065"'):
        assert rows_in(b'{"inputs":[{%b:[12,1],%b}]}' % (name, tensor)) == 12
