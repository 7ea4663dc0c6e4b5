import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from leadline.commands.publish import publish as command
from leadline.publish.bundle import Bundle
from leadline.publish.original import PublishError
from leadline.publish.sources import from_folder, from_module, from_onnx
from tests.leadline.publish.flowers import TRAINING

SPEC = """
import lightgbm
from leadline.publish import Publication, Serving
from tests.leadline.publish.flowers import COLOURS, INPUTS, TRAINING, flowers

def asked(column):
    return column.model_copy(update={"source": f"request:{column.name}"})

def publication():
    seen, unseen = flowers().train(), flowers().held_back()
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(seen.matrix(), seen.labels, categorical_feature=[3])
    return Publication(
        name="flower", model=model, inputs=[asked(column) for column in INPUTS],
        serving=Serving(request_fields={column.name: column.dtype for column in INPUTS}),
        sample=seen.rows, validation=unseen.rows,
        labels=unseen.labels, training=TRAINING, categories={"colour": COLOURS},
    )
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("spec") / "flower.py"
    file.write_text(SPEC)
    return file


@pytest.fixture(scope="module")
def bundle(spec: Path) -> Bundle:
    return from_module(str(spec))


def test_an_input_that_nothing_fills_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "flower.py"
    file.write_text(SPEC.replace("request:{column.name}", "flower:{column.name}"))
    said = CliRunner().invoke(command, [str(file), "--dry-run"])
    assert said.exit_code == 1
    assert "length: flower:length is looked up, but there is no feature_service" in said.output


def test_a_python_file_is_built_and_a_written_bundle_is_the_same(
    bundle: Bundle, tmp_path: Path
) -> None:
    bundle.write(tmp_path / "made")
    assert from_folder(tmp_path / "made") == bundle


def test_a_file_that_changed_after_it_was_written_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    bundle.write(tmp_path)
    (tmp_path / "golden.json").write_text("{}")
    with pytest.raises(PublishError, match=r"golden\.json is not what the manifest was written"):
        from_folder(tmp_path)
    (tmp_path / "golden.json").unlink()
    with pytest.raises(PublishError, match=r"lacks golden\.json"):
        from_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "defines no 'publication'"),
        ("publication = 3", "defines no 'publication'"),
        ("def publication(run): return run", "takes an MLflow run; give --mlflow-run"),
    ],
)
def test_a_module_without_a_publication_is_told_what_to_define(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "spec.py").write_text(text)
    with pytest.raises(PublishError, match=said):
        from_module(str(tmp_path / "spec.py"))


@pytest.mark.parametrize("name", ["nowhere.to.be_found", "nowhere/spec.py"])
def test_a_source_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(PublishError, match="nowhere"):
        from_module(name)


def _identity(path: Path) -> Path:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 2]) for n in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "identity", ends[:1], ends[1:])
    onnx.save_model(helper.make_model(graph), path)
    return path


def test_an_onnx_file_is_published_as_it_is(tmp_path: Path) -> None:
    training = tmp_path / "training.json"
    training.write_text(TRAINING.model_dump_json())
    bundle = from_onnx(_identity(tmp_path / "m.onnx"), "identity", training)
    assert bundle.manifest.task == "raw"
    assert bundle.manifest.tensors.layout == "raw"
    training.write_text("{}")
    with pytest.raises(PublishError, match="dataset_name: Field required"):
        from_onnx(tmp_path / "m.onnx", "identity", training)
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(PublishError, match="no valid ONNX model"):
        from_onnx(tmp_path / "m.onnx", "identity", training)


def _unloadable(fault: str) -> onnx.ModelProto:
    kinds = {"bfloat16": TensorProto.BFLOAT16}
    kind = kinds.get(fault, TensorProto.FLOAT)
    ends = [helper.make_tensor_value_info(n, kind, [None, 2]) for n in ("x", "y")]
    operator = ("Unheard", "of.nobody") if fault == "operator" else ("Identity", "")
    node = helper.make_node(operator[0], ["x"], ["y"], domain=operator[1])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if fault == "elsewhere":
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", "weights.bin"
    outputs = ends[1:]
    if fault == "sequence":
        node = helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)
        outputs = [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "odd", ends[:1], outputs, [weight])
    versions = [helper.make_opsetid("", 99 if fault == "operator set" else 17)]
    if operator[1]:
        versions.append(helper.make_opsetid(operator[1], 1))
    return helper.make_model(graph, opset_imports=versions, ir_version=9)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("bfloat16", "the input x has a type that is not served"),
        ("sequence", "the output y is a sequence and no tensor"),
        ("operator", "is not loaded by ONNX Runtime .*: .*Unheard"),
        ("operator set", "is not loaded by ONNX Runtime [^:]*: ONNX Runtime only .*Opset 99"),
        ("elsewhere", "keeps weights in other files; save it as one"),
    ],
)
def test_a_graph_that_no_replica_would_load_is_not_published(
    fault: str, words: str, tmp_path: Path
) -> None:
    path, training = tmp_path / "m.onnx", tmp_path / "training.json"
    training.write_text(TRAINING.model_dump_json())
    path.write_bytes(_unloadable(fault).SerializeToString())
    with pytest.raises(PublishError, match=words):
        from_onnx(path, "odd", training)


def test_the_command_verifies_without_a_platform_and_shows_the_report(
    spec: Path, tmp_path: Path
) -> None:
    arguments = [str(spec), "--dry-run", "--out", str(tmp_path / "made")]
    shown = CliRunner().invoke(command, arguments)
    assert shown.exit_code == 0, shown.output
    assert "threshold" in shown.output
    assert "not published (--dry-run)" in shown.output
    told = CliRunner().invoke(command, [str(tmp_path / "made"), "--dry-run", "--json"])
    assert json.loads(told.output)["reports"]["parity.json"]["framework"] == "lightgbm"


def test_the_command_says_what_an_onnx_file_needs(tmp_path: Path) -> None:
    told = CliRunner().invoke(command, [str(_identity(tmp_path / "m.onnx")), "--dry-run"])
    assert told.exit_code == 2
    assert "--name and --training" in told.output


@pytest.mark.parametrize("source", ["no/folder", "old-model.pkl", "{there}"])
def test_what_nothing_can_be_published_from_is_said_to_be_that(source: str, tmp_path: Path) -> None:
    there = tmp_path / "training.json"
    there.write_text("{}")
    with pytest.raises(PublishError, match="is no Python file or module, no folder"):
        from_module(source.format(there=there))


def test_an_onnx_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="There is no file"):
        from_onnx(tmp_path / "none.onnx", "m", tmp_path / "t.json")


@pytest.mark.parametrize(
    ("source", "option", "value", "said"),
    [
        ("m.py", "--name", "other", "--name does not go with m.py"),
        ("m.onnx", "--precision", "int8", "--precision does not go with m.onnx"),
        (".", "--mlflow-run", "1", "--mlflow-run does not go with ."),
        ("m.onnx", "--name", "team/churn", "--name team/churn: a model's name begins with"),
        ("runs:/1/model", "--name", "Churn", "--name Churn: a model's name begins with"),
    ],
)
def test_an_option_that_would_not_be_heeded_is_refused(
    source: str, option: str, value: str, said: str
) -> None:
    told = CliRunner().invoke(command, [source, option, value, "--dry-run"])
    assert told.exit_code == 2
    assert said in told.output


def test_no_platform_is_told_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text("raise AssertionError('the work')")
    told = CliRunner().invoke(command, [str(file), "--state", str(tmp_path / "none")])
    assert told.exit_code == 1
    assert "No platform has been started" in told.output


def test_each_long_step_is_told(spec: Path) -> None:
    told: list[str] = []
    from_module(str(spec), say=told.append)
    assert told == [
        "converting to ONNX",
        "comparing the export with the original",
        "profiling the training rows",
    ]
