"""``leadline publish``."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console
from rich.table import Table

from contracts.fillable import unfillable
from contracts.manifest import NAME, NAME_RULE
from leadline.client import Client
from leadline.commands.advice import say_advice
from leadline.state import StateDir, state_option

RUN = "runs:/"

if TYPE_CHECKING:
    from leadline.publish.bundle import Bundle


@click.command()
@state_option
@click.argument("source")
@click.option("--mlflow-run", metavar="RUN_ID", help="Hand this run to SOURCE's publication().")
@click.option("--tracking-uri", help="Of MLflow. [default: the platform's own]")
@click.option("--precision", type=click.Choice(["float32", "int8"]), help="Instead of SOURCE's.")
@click.option("--name", help="The model's name, for an ONNX file or a run.")
@click.option(
    "--training",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON with the training metadata, for an ONNX file.",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON with fields of the manifest, for a run that did not log them.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write it here.")
@click.option("--dry-run", is_flag=True, help="Convert and verify, but do not publish.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON.")
def publish(
    state: StateDir,
    source: str,
    mlflow_run: str | None,
    tracking_uri: str | None,
    precision: Literal["float32", "int8"] | None,
    name: str | None,
    training: Path | None,
    manifest: Path | None,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish a model version from SOURCE.

    \b
    FILE.py, MODULE   defines `publication`: a leadline.publish.Publication or a function
    FOLDER            a bundle that --out wrote
    FILE.onnx         an ONNX graph as it is, for /v2 only (with --name and --training)
    runs:/RUN/NAME    what an MLflow run logged under NAME: an ONNX model or a bundle (with --name);
                      the registry reads it, nothing is converted here
    """
    _check_options(source, mlflow_run, precision, name, training, manifest)
    if source.startswith(RUN):
        adopted = _from_run(state, source, name, manifest, dry_run)
        _tell(adopted, as_json)
        return
    if not dry_run:
        Client.from_state(state).close()  # no platform is told before the work, not after it
    with Console(stderr=True).status(f"reading {source}") as status:
        bundle = _bundle(
            state, source, mlflow_run, tracking_uri, precision, name, training, status.update
        )
    if faults := unfillable(bundle.manifest):
        raise click.ClickException("\n  ".join(["Inputs that nothing could fill:", *faults]))
    if out is not None:
        bundle.write(out)
    if dry_run:
        answer: dict[str, object] = {"model": bundle.manifest.model, "dry_run": True}
    else:
        with Client.from_state(state, timeout_s=120.0) as client:
            answer = dict(bundle.send(client))
    if as_json:
        answer["reports"] = reports(bundle)
    else:
        _show(bundle)
    _tell(answer, as_json)


def _from_run(
    state: StateDir, source: str, name: str | None, manifest: Path | None, dry_run: bool
) -> dict[str, object]:
    run_id, _, artifact = source.removeprefix(RUN).partition("/")
    if name is None:
        raise click.UsageError("A run needs --name.")
    body: dict[str, object] = {"run_id": run_id}
    if artifact:
        body["artifact"] = artifact
    if manifest is not None:
        try:
            body["manifest"] = json.loads(manifest.read_text())
        except ValueError as torn:
            raise click.UsageError(f"{manifest} is not JSON: {torn}.") from None
    with Client.from_state(state, timeout_s=120.0) as client:
        path, query = f"/v1/models/{name}/versions", {"dry_run": str(dry_run).lower()}
        return dict(client.post(path, body, params=query))


def reports(bundle: "Bundle") -> dict[str, object]:
    """The parity and int8 reports of a bundle, as they were published."""
    paths = ("parity.json", "int8.json")
    return {path: json.loads(bundle.files[path]) for path in paths if path in bundle.files}


def _bundle(
    state: StateDir,
    source: str,
    mlflow_run: str | None,
    tracking_uri: str | None,
    precision: Literal["float32", "int8"] | None,
    name: str | None,
    training: Path | None,
    say: Callable[[str], None],
) -> "Bundle":
    from leadline.publish import sources  # imports ONNX and the converters
    from leadline.publish.from_mlflow import open_run

    path = Path(source)
    if path.suffix == ".onnx":
        if name is None or training is None:
            raise click.UsageError("An ONNX file needs --name and --training.")
        return sources.from_onnx(path, name, training)
    if path.is_dir():
        return sources.from_folder(path)
    run = None
    if mlflow_run is not None:
        run = open_run(mlflow_run, tracking_uri or _tracking(state))
    return sources.from_module(source, run, precision, say)


def _check_options(
    source: str,
    mlflow_run: str | None,
    precision: str | None,
    name: str | None,
    training: Path | None,
    manifest: Path | None,
) -> None:
    """Raises ``UsageError`` for an option that this kind of SOURCE would not heed."""
    of_run, of_onnx = source.startswith(RUN), source.endswith(".onnx")
    of_code = not of_run and not of_onnx and not Path(source).is_dir()
    unheeded = {
        "--mlflow-run": mlflow_run is not None and not of_code,
        "--precision": precision is not None and not of_code,
        "--name": name is not None and not (of_onnx or of_run),
        "--training": training is not None and not of_onnx,
        "--manifest": manifest is not None and not of_run,
    }
    if ignored := [option for option, is_so in unheeded.items() if is_so]:
        raise click.UsageError(f"{', '.join(ignored)} does not go with {source}.")
    if name is not None and not re.fullmatch(NAME, name):
        raise click.UsageError(f"--name {name}: {NAME_RULE}.")


def _tracking(state: StateDir) -> str:
    """The platform's own MLflow: its server, through which runs log what they keep."""
    database = f"sqlite:///{state.root / 'mlflow' / 'mlflow.db'}"
    known = state.read_endpoints() if state.endpoints_file.exists() else {}
    return known.get("mlflow", database)


def _show(bundle: "Bundle") -> None:
    console = Console(highlight=False, markup=False)
    said = reports(bundle)
    parity, int8 = said.get("parity.json"), said.get("int8.json")
    if isinstance(parity, dict):
        table = Table("rows", "n", "largest difference", "decisions that flip", box=None)
        for kind, found in parity["kinds"].items():
            difference = f"{found['max_abs_difference']:.2g}"
            table.add_row(kind, f"{found['rows']:,}", difference, str(found["decision_flips"]))
        console.print(f"Export against {parity['framework']}:")
        console.print(table)
    if isinstance(int8, dict) and int8["applicable"]:
        size = int8["bytes_float32"] / int8["bytes_int8"]
        console.print(
            f"int8: {size:.1f} times smaller, {int8['metric']} worse by "
            f"{int8['metric_loss']:.4f}, {int8['decision_flips']} of {int8['rows']} decisions "
            f"flip, {int8['speed_up']['1']:.2f} times as fast alone and "
            f"{int8['speed_up']['32']:.2f} times in batches of 32"
        )
    elif isinstance(int8, dict):
        console.print(f"int8: not applicable, {int8['reason']}")


def _tell(answer: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer))
        return
    if answer.get("dry_run"):
        click.echo(f"{answer['model']}: verified, not published (--dry-run).")
    else:
        there = "was there already" if answer.get("existing") else "published"
        click.echo(f"{answer['model']} version {answer['version']} {there}.")
    say_advice(answer)
