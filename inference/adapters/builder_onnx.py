"""Makes a loaded version out of a manifest and verified bytes; blocking, for a worker thread."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.fillable import unfillable
from contracts.golden import GoldenSet, GoldenTensor
from contracts.manifest import Manifest
from inference.adapters.check_onnx import UnsoundGraphError, check
from inference.adapters.engine_onnxruntime import OnnxEngine
from inference.adapters.row_probe import rows_are_apart
from inference.adapters.session_onnxruntime import ModelRefused, OnnxSession, open_session
from inference.domain.fleet import LoadedVersion, Tensor
from inference.domain.inputs import InputPlan
from inference.domain.instances import DTYPES, InstanceField, InstanceSchema
from inference.domain.post_process import PostProcessor
from inference.domain.request_time import RequestTime
from inference.domain.tally import Tally
from inference.ports import FeatureReader
from kit.telemetry import LATENCY_BUCKETS_S
from shared_features.catalogue import Catalogue
from shared_features.compile import CompiledService
from shared_features.errors import DefinitionError, UnknownRef

MakeEngine = Callable[[OnnxSession, Manifest], OnnxEngine]


class OnnxBuilder:
    """Checks, opens, warms and compiles a version."""

    def __init__(
        self,
        catalogue: Catalogue,
        reader: FeatureReader,
        make_engine: MakeEngine,
        providers: Sequence[str],
        threads: int,
    ) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._make_engine = make_engine
        self._providers = providers
        self._threads = threads

    def build(self, manifest: Manifest, version: str, files: Mapping[str, bytes]) -> LoadedVersion:
        """Blocking. Raises ``ModelRefused`` with the reason."""
        service = self._service(manifest)
        if faults := unfillable(manifest, None if service is None else service.json):
            raise ModelRefused("; ".join(faults[:3]))
        content = files["model.onnx"]
        try:
            check(content)
        except UnsoundGraphError as fault:
            raise ModelRefused(str(fault)) from fault
        session = open_session(content, self._providers, self._threads)
        score_output = _fits(manifest, session)
        engine = self._make_engine(session, manifest)
        _warm(session, engine, manifest, files.get("golden.json"))
        entry = manifest.file("model.onnx")
        assert entry is not None
        return LoadedVersion(
            model=manifest.model,
            version=version,
            manifest=manifest,
            digest=entry.sha256,
            engine=engine,
            tally=Tally(LATENCY_BUCKETS_S),
            schema=InstanceSchema(_fields(manifest, service)),
            inputs=InputPlan(manifest, _functions(service)),
            post=PostProcessor(manifest),
            plan=None if service is None or not service.reads else self._reader.plan(service),
            request_time=RequestTime(service) if service and service.on_demand else None,
            timestamp_keys=_timestamp_keys(service),
            score_output=score_output,
            policy_id=_policy_of(manifest, version),
        )

    def _service(self, manifest: Manifest) -> CompiledService | None:
        if manifest.feature_service is None:
            return None
        try:
            service = self._catalogue.compile(manifest.feature_service)
        except (DefinitionError, UnknownRef) as unknown:
            raise ModelRefused(str(unknown)) from unknown
        if service.fingerprint != manifest.feature_fingerprint:
            raise ModelRefused(
                f"the feature service {service.name} has another fingerprint here than the model "
                "was trained with; a replica reads its definitions when it starts"
            )
        return service


def _functions(service: CompiledService | None) -> frozenset[str]:
    return frozenset(one.name for one in service.on_demand) if service is not None else frozenset()


def _timestamp_keys(service: CompiledService | None) -> tuple[str, ...]:
    keys = {} if service is None else service.entity_columns
    return tuple(name for name, dtype in keys.items() if dtype == "timestamp")


def _policy_of(manifest: Manifest, version: str) -> str:
    post = manifest.post_processing
    if not post.exploration_epsilon or post.threshold is None:
        return ""
    return f"{manifest.model}@{version}:epsilon={post.exploration_epsilon:g}"


def _fields(manifest: Manifest, service: CompiledService | None) -> list[InstanceField]:
    keys: dict[str, str] = dict.fromkeys(manifest.entity_keys, "string")
    fields = dict(manifest.request_fields)
    if service is not None:
        keys |= service.entity_columns
        fields = dict(service.request_fields) | fields
    wanted = [InstanceField(name, dtype, nullable=True) for name, dtype in keys.items()]
    wanted += [InstanceField(name, dtype) for name, dtype in fields.items() if name not in keys]
    for field in wanted:
        if field.dtype not in DTYPES:
            raise ModelRefused(f"the request field {field.name} has the dtype {field.dtype}")
    return wanted


def _fits(manifest: Manifest, session: OnnxSession) -> int:
    """The index of the output to score by. Raises ``ModelRefused`` when tensors are missing."""
    tensors = manifest.tensors
    names = [spec.name for spec in session.outputs]
    if tensors.layout == "raw":
        return 0
    wanted = (
        {tensors.input}
        if tensors.layout == "matrix"
        else {column.name for column in manifest.inputs}
    )
    have = {spec.name for spec in session.inputs}
    if wanted != have:
        raise ModelRefused(f"the graph takes {sorted(have)}, the manifest says {sorted(wanted)}")
    scored = tensors.probability if manifest.task == "classification" else tensors.value
    if scored is None:
        return len(names) - 1
    if scored not in names:
        raise ModelRefused(f"the graph has no output {scored}")
    return names.index(scored)


def _warm(
    session: OnnxSession, engine: OnnxEngine, manifest: Manifest, golden_json: bytes | None
) -> None:
    """Run the golden set in several batch sizes: the answers must be those of the original.

    Without a golden set zeros are run, so that the costs of a run are known, and made-up rows show
    whether calls may share one.
    """
    if golden_json is None:
        if manifest.tensors.layout == "raw" and session.batchable and not rows_are_apart(session):
            engine.keep_apart()
        else:
            _warm_with_zeros(session, engine, manifest)
        return
    golden = GoldenSet.model_validate_json(golden_json)
    feeds = {name: array_of(tensor) for name, tensor in golden.inputs.items()}
    wanted = {name: array_of(tensor) for name, tensor in golden.outputs.items()}
    names = [spec.name for spec in session.outputs]
    session.run({name: value[:1] for name, value in feeds.items()})  # the first run is not typical
    for rows in sorted({1, 8, min(golden.rows, manifest.rows_per_batch_max)}):
        for start in range(0, golden.rows - rows + 1, rows):
            part = slice(start, start + rows)
            outputs, outcome = engine.warm({name: value[part] for name, value in feeds.items()})
            if outcome.any():
                raise ModelRefused("the model cannot compute its own golden rows")
            for name, expected in wanted.items():
                far = _far(outputs[names.index(name)], expected[part], golden.tolerance)
                if far:
                    raise ModelRefused(
                        f"{far} golden answers differ by more than {golden.tolerance:g} in runs "
                        f"of {rows} row{'s' if rows > 1 else ''}"
                    )


_NUMPY_OF = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}


def _warm_with_zeros(session: OnnxSession, engine: OnnxEngine, manifest: Manifest) -> None:
    wanted = {spec.name: _NUMPY_OF.get(spec.datatype) for spec in session.inputs}
    shapes = {spec.name: spec.shape for spec in session.inputs}
    if not session.batchable or None in wanted.values():
        return
    if any(-1 in shape[1:] for shape in shapes.values()):
        return
    for rows in (1, 1, 8, min(64, manifest.rows_per_batch_max)):
        engine.warm(
            {name: np.zeros((rows, *shapes[name][1:]), dtype) for name, dtype in wanted.items()}
        )


def _far(got: Tensor, expected: Tensor, tolerance: float) -> int:
    """How many answers differ by more than ``tolerance``."""
    got = got.reshape(expected.shape)
    if expected.dtype == object:
        return int((got != expected).sum())
    near = np.isclose(
        got.astype(np.float64),
        expected.astype(np.float64),
        rtol=0,
        atol=tolerance,
        equal_nan=True,
    )
    return int((~near).sum())


def array_of(tensor: GoldenTensor) -> npt.NDArray[Any]:
    """The numpy array of a golden tensor; null is NaN (text: empty)."""
    if tensor.dtype == "string":
        values = np.array([value or "" for value in tensor.values], object)
    else:
        numbers = [np.nan if value is None else value for value in tensor.values]
        values = np.array(numbers).astype(tensor.dtype)
    return values.reshape(tensor.shape)
