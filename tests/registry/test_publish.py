"""Publishing: what becomes a version, and what is refused with everything that is wrong."""

import asyncio
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any

import httpx
import onnx
import orjson
import pytest
from onnx import TensorProto

from kit.clock import FakeClock
from registry.app import build
from tests.registry.conftest import (
    doubling_model,
    manifest_of,
    onnx_from,
    publish,
    running,
    settings_for,
    speaking_as,
)


async def test_a_published_version_is_a_candidate_with_hashed_files(
    client: httpx.AsyncClient,
) -> None:
    answer = await publish(client)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["model"], body["version"], body["state"]) == ("delay", "1", "candidate")
    digest = sha256(doubling_model()).hexdigest()
    assert body["files"][0]["sha256"] == digest
    stored = await client.get(f"/v1/artifacts/{digest}")
    assert stored.content == doubling_model()


async def test_the_manifest_that_is_served_has_the_digest_that_was_answered(
    client: httpx.AsyncClient,
) -> None:
    digest = (await publish(client)).json()["digest"]
    manifest = await client.get("/v1/models/delay/versions/1/manifest")
    assert sha256(manifest.content).hexdigest() == digest


async def test_the_same_content_is_the_same_version(client: httpx.AsyncClient) -> None:
    first, again = await publish(client), await publish(client)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["version"] == "1"
    assert (await publish(client, 3.0)).json()["version"] == "2"


async def test_a_version_without_training_metadata_is_refused_with_the_whole_list(
    client: httpx.AsyncClient,
) -> None:
    answer = await publish(client, manifest=manifest_of(training=None))
    assert answer.status_code == 422
    missing = answer.json()["missing"]
    assert "training.dataset_digest" in missing
    assert "training.git_commit" in missing
    assert len(missing) == 8


async def test_partial_training_metadata_names_what_is_missing(client: httpx.AsyncClient) -> None:
    training = manifest_of()["training"]
    del training["git_commit"], training["metrics_rows"]
    answer = await publish(client, manifest=manifest_of(training=training))
    assert answer.status_code == 422
    assert answer.json()["missing"] == ["training.metrics_rows", "training.git_commit"]


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "2026-11-20T10:00:00", "2026-11-20"])
async def test_a_training_time_that_is_no_instant_is_missing(
    client: httpx.AsyncClient, when: str
) -> None:
    training = manifest_of()["training"] | {"trained_at": when}
    answer = await publish(client, manifest=manifest_of(training=training))
    assert answer.status_code == 422
    (missing,) = answer.json()["missing"]
    assert missing.startswith("training.trained_at as ISO 8601 with its offset")


async def test_an_unknown_manifest_field_is_refused(client: httpx.AsyncClient) -> None:
    answer = await publish(client, manifest=manifest_of(surprise=1))
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": "/surprise", "code": "extra-forbidden"}]


async def test_a_version_without_a_model_file_is_refused(client: httpx.AsyncClient) -> None:
    answer = await publish(client, files={"notes.md": b"nothing"})
    assert answer.status_code == 422
    assert answer.json()["missing"] == ["file model.onnx"]


def _with_external_data() -> bytes:
    model = onnx_from(doubling_model())
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return bytes(model.SerializeToString())


def _with_external_data_in_a_subgraph() -> bytes:
    model = onnx_from(doubling_model())
    constant = onnx.helper.make_node("Constant", [], ["c"])
    tensor = onnx.helper.make_tensor("inner", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    constant.attribute.append(onnx.helper.make_attribute("value", tensor))
    model.graph.node.append(constant)
    return bytes(model.SerializeToString())


def _giving(kind: onnx.TypeProto) -> bytes:
    model = onnx_from(doubling_model())
    model.graph.output[0].type.CopyFrom(kind)
    return bytes(model.SerializeToString())


_MAP = onnx.helper.make_map_type_proto(
    TensorProto.INT64, onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, [])
)
_MAPS = onnx.helper.make_sequence_type_proto(_MAP)
_BRAIN_FLOATS = onnx.helper.make_tensor_type_proto(TensorProto.BFLOAT16, [None, 1])


async def test_a_name_with_a_control_character_is_refused(client: httpx.AsyncClient) -> None:
    """MLflow could never be shown such a version, nor any after it."""
    parts = {"manifest": b"{}", "model.onnx": doubling_model(), "n\x00ul.md": b"", "\x1b[m.md": b""}
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"; filename="f"\r\n\r\n%b\r\n'
        % (name.encode(), orjson.dumps(manifest_of()) if name == "manifest" else content)
        for name, content in parts.items()
    )
    answer = await client.post(
        "/v1/models/delay/versions",
        content=body + b"--b--\r\n",
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code == 422
    assert answer.json()["faults"] == ["a file's name is not a plain relative path"] * 2


async def test_files_that_come_as_fields_are_refused_before_they_fill_the_memory(
    client: httpx.AsyncClient,
) -> None:
    few = await client.post("/v1/models/delay/versions", files=[_field("manifest"), _field("a")])
    assert few.json()["detail"] == "Send every file as a file part."
    parts = [_field("manifest"), _field("a"), _field("b")]
    assert (await client.post("/v1/models/delay/versions", files=parts)).status_code == 422


def _field(name: str) -> tuple[str, tuple[None, str]]:
    return name, (None, "{}")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.onnx": _giving(_MAPS)}, "is a sequence and no tensor: of class"),
        ({"model.onnx": _giving(_BRAIN_FLOATS)}, "has a type that is not served"),
        ({"model.onnx": b"\x80\x04\x95 a pickle"}, "pickle"),
        ({"model.onnx": doubling_model(), "model.pkl": b"\x80\x04"}, "never pickles"),
        ({"model.onnx": doubling_model()[:-20]}, "ONNX"),
        ({"model.onnx": b"these are no bytes of a model"}, "not an ONNX model"),
        ({"model.onnx": _with_external_data()}, "external data"),
        ({"model.onnx": _with_external_data_in_a_subgraph()}, "external data"),
        ({"model.onnx": doubling_model(), "golden.json": b"{"}, "not JSON"),
        ({"model.onnx": doubling_model(), "baseline.json": b"{}"}, "not a baseline profile"),
        ({"model.onnx": doubling_model(), "../out.json": b"{}"}, "plain relative path"),
        ({"model.onnx": doubling_model(), "a//b.md": b""}, "plain relative path"),
        ({"model.onnx": doubling_model(), "a\\b.md": b""}, "plain relative path"),
        ({"model.onnx": doubling_model(), "\u202etxt.md": b""}, "plain relative path"),
        ({"model.onnx": doubling_model(), "ä" * 100 + ".md": b""}, "plain relative path"),
        ({"model.onnx": doubling_model(), "a.md": b"", "a.md/b.md": b""}, "a.md is a file, too"),
        ({"model.onnx": doubling_model(), "manifest.json": b"{}"}, "the manifest is the part"),
        ({"model.onnx": doubling_model(), "manifest.json/a.md": b""}, "manifest.json is a file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_file_is_refused_with_the_reason_and_nothing_is_kept(
    client: httpx.AsyncClient, tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    answer = await publish(client, files=files)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert (await client.get("/v1/models/delay")).status_code == 404
    kept = [place for place in (tmp_path / "registry" / "artifacts").rglob("*") if place.is_file()]
    assert kept == []


async def test_a_graph_that_takes_other_inputs_than_the_manifest_says_is_refused(
    client: httpx.AsyncClient,
) -> None:
    tensors = {"layout": "columns", "value": "value"}
    answer = await publish(client, manifest=manifest_of(tensors=tensors))
    assert answer.status_code == 422
    assert "takes input, but the manifest describes x" in answer.json()["detail"]


def _columns(*dtypes: str) -> list[dict[str, str]]:
    names = ["x", "y", "z"]
    return [
        {"name": name, "dtype": dtype, "source": f"request:{name}"}
        for name, dtype in zip(names, dtypes, strict=False)
    ]


def _taking(kind: int, *shape: int | None) -> bytes:
    """Gives what it takes."""
    model = onnx_from(doubling_model())
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("input", kind, shape))
    model.graph.node[0].CopyFrom(onnx.helper.make_node("Cast", ["input"], ["value"], to=1))
    return bytes(model.SerializeToString())


def _in_columns(*dtypes: str) -> dict[str, Any]:
    columns = [{**one, "name": "input"} for one in _columns(*dtypes)]
    return {"inputs": columns, "tensors": {"layout": "columns", "value": "value"}}


@pytest.mark.parametrize(
    ("graph", "changes", "said"),
    [
        (_taking(TensorProto.FLOAT, None, 2), {},
         "takes input as FP32 [-1, 2], but the manifest describes FP32 [-1, 1]"),
        (_taking(TensorProto.FLOAT, None, 1), {"inputs": _columns("float32", "float32"),
         "request_fields": {"x": "float32", "y": "float32"}},
         "takes input as FP32 [-1, 1], but the manifest describes FP32 [-1, 2]"),
        (_taking(TensorProto.DOUBLE, None, 1), {}, "takes input as FP64 [-1, 1], but"),
        (_taking(TensorProto.FLOAT, None), {}, "takes input as FP32 [-1], but"),
        (_taking(TensorProto.FLOAT, None, None), {}, None),
        (_taking(TensorProto.FLOAT, 1, 1), {}, None),
        (_taking(TensorProto.INT64, None, 1), _in_columns("int64"), None),
        (_taking(TensorProto.INT64, None, 1), _in_columns("float32"), "takes input as INT64 [-1"),
    ],
)  # fmt: skip
async def test_a_graph_that_could_not_be_fed_as_the_manifest_says_is_refused(
    client: httpx.AsyncClient, graph: bytes, changes: dict[str, Any], said: str | None
) -> None:
    answer = await publish(client, files={"model.onnx": graph}, manifest=manifest_of(**changes))
    assert answer.status_code == (201 if said is None else 422), answer.text
    assert said is None or said in answer.json()["detail"]


async def test_names_of_classes_are_as_many_as_the_graph_tells_apart(
    client: httpx.AsyncClient,
) -> None:
    told: dict[str, Any] = {
        "task": "classification",
        "tensors": {"layout": "matrix", "probability": "value"},
    }
    for names, status in ((("no", "yes"), 201), (("a", "b", "c"), 422)):
        manifest = manifest_of(**told, post_processing={"labels": names})
        answer = await publish(client, manifest=manifest)
        assert answer.status_code == status, answer.text
    assert "tells 2 classes apart, and the manifest names 3" in answer.json()["detail"]


async def test_an_input_that_nothing_fills_is_refused(client: httpx.AsyncClient) -> None:
    inputs = [{"name": "x", "dtype": "float32", "source": "request:distance"}]
    answer = await publish(client, manifest=manifest_of(inputs=inputs))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "x: request_fields has no distance."


async def test_files_that_are_not_those_the_manifest_lists_are_refused(
    client: httpx.AsyncClient,
) -> None:
    listed = [{"path": "model.onnx", "sha256": "0" * 64, "size_bytes": 1}]
    answer = await publish(client, manifest=manifest_of(files=listed))
    assert answer.status_code == 422
    assert "not the ones the manifest lists" in answer.json()["detail"]


async def test_a_dry_run_answers_and_keeps_nothing(client: httpx.AsyncClient) -> None:
    answer = await publish(client, query="?dry_run=true")
    assert answer.status_code == 200
    assert answer.json()["dry_run"] is True
    assert (await client.get("/v1/models/delay")).status_code == 404


async def test_a_reader_may_not_publish(client: httpx.AsyncClient) -> None:
    answer = await publish(client, headers=speaking_as("ann", "registry:read"))
    assert answer.status_code == 403


async def test_lineage_finds_versions_by_data_set_and_says_which_serve(
    client: httpx.AsyncClient,
) -> None:
    await publish(client, 2.0)
    await publish(client, 3.0)
    await client.post(
        "/v1/models/delay/versions/2/transitions",
        json={"to": "production", "reason": "first"},
        headers={"if-match": "*"},
    )
    found = (await client.get("/v1/lineage", params={"dataset": "flights"})).json()["versions"]
    assert [(one["version"], one["serves"]) for one in found] == [("1", False), ("2", True)]
    assert (await client.get("/v1/lineage", params={"dataset": "x"})).json()["versions"] == []


async def test_an_idempotency_key_stands_for_one_content(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k1"}
    assert (await publish(client, 2.0, headers=headers)).status_code == 201
    assert (await publish(client, 2.0, headers=headers)).json()["version"] == "1"
    answer = await publish(client, 3.0, headers=headers)
    assert answer.json()["code"] == "idempotency-mismatch"


async def test_versions_published_at_the_same_time_get_numbers_of_their_own(
    client: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(*(publish(client, float(factor)) for factor in range(2, 7)))
    assert sorted(answer.json()["version"] for answer in answers) == ["1", "2", "3", "4", "5"]


async def test_too_much_is_refused_while_it_comes_in(tmp_path: Path, fake_clock: FakeClock) -> None:
    settings = settings_for(tmp_path, artifact_bytes_max=2048)
    async with running(build(settings, fake_clock)) as client:
        answer = await publish(client, files={"model.onnx": b"x" * 4096})
    assert answer.status_code == 413
    assert list((tmp_path / "registry").rglob("staging/*")) == []


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{}", "application/json", 422),
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"no boundary", "multipart/form-data", 422),
        (b"--x\r\nno headers", "multipart/form-data; boundary=x", 422),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422),
    ],
)
async def test_a_body_that_is_no_version_is_a_problem_and_no_failure(
    client: httpx.AsyncClient, content: bytes, content_type: str, status: int
) -> None:
    answer = await client.post(
        "/v1/models/delay/versions", content=content, headers={"content-type": content_type}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
@pytest.mark.parametrize("place", ['"mae":', '"trees":', '"cache_ttl_s":'])
async def test_a_number_that_is_none_is_refused_and_harms_no_other_version(
    client: httpx.AsyncClient, number: str, place: str
) -> None:
    await publish(client)
    text = orjson.dumps(manifest_of(cache_ttl_s=7)).decode()
    before, after = text.split(place)
    rest = after.lstrip("0123456789.")
    files = {
        "manifest": f"{before}{place}{number}{rest}".encode(),
        "model.onnx": doubling_model(5.0),
    }
    answer = await client.post("/v1/models/delay/versions", files=files)
    assert answer.status_code == 422
    assert len((await client.get("/v1/models/delay")).json()["versions"]) == 1


async def test_a_number_is_not_given_to_another_version_by_a_database_restored_from_a_copy(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    settings = settings_for(tmp_path)
    database, copy = tmp_path / "registry" / "registry.db", tmp_path / "copy.db"
    async with running(build(settings, fake_clock)) as client:
        await publish(client)
    database.rename(copy)
    copyfile(copy, database)
    async with running(build(settings, fake_clock)) as client:
        assert (await publish(client, 3.0)).json()["version"] == "2"
        assert (await publish(client, 5.0, query="?dry_run=true")).json()["version"] == "3"
    copyfile(copy, database)
    async with running(build(settings, fake_clock)) as client:
        assert (await publish(client, 4.0)).json()["version"] == "3"
        assert (await publish(client, 3.0)).json()["version"] == "2"  # what it was before


async def test_a_number_that_a_replica_serves_is_not_given_to_another_version(
    client: httpx.AsyncClient,
) -> None:
    serving = {"model": "delay", "version": "5", "state": "ready"}
    report = {"replica": "one", "epoch": 9, "versions": [serving]}
    assert (await client.put("/v1/replicas/one", json=report)).is_success
    assert (await publish(client)).json()["version"] == "6"
