"""Models, versions, their files and their transitions."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from contracts.manifest import NAME
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.adopt import Adopt
from registry.describe import Describe
from registry.domain.lifecycle import State
from registry.domain.numbers import VERSION
from registry.domain.version import manifest_json
from registry.ports import ArtifactStore
from registry.promote import Promote
from registry.publish import Publish
from registry.routes.arrivals import REQUEST_BODY, run_asked_for
from registry.routes.asking import (
    ContentKey,
    DryRun,
    IdempotencyKey,
    IfMatch,
    Reader,
    Somebody,
    Writer,
    etag,
)
from registry.routes.multipart import read_version

ModelName = Annotated[str, Path(pattern=NAME)]
Version = Annotated[str, Path(pattern=VERSION)]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class TransitionIn(BaseModel):
    """``POST …/transitions``."""

    model_config = ConfigDict(extra="forbid")

    to: State
    reason: str = Field(min_length=3, max_length=1000)


def router(
    publish: Publish,
    adopt: Adopt,
    promote: Promote,
    describe: Describe,
    artifacts: ArtifactStore,
    *,
    bytes_max: int,
    files_max: int,
) -> APIRouter:
    """The routes of models, bound to their verbs."""
    routes = APIRouter(prefix="/v1", tags=["models"])
    _add_changes(
        routes, publish, adopt, promote, artifacts, bytes_max=bytes_max, files_max=files_max
    )
    _add_pages(routes, describe)
    _add_contents(routes, describe, artifacts)
    return routes


def _add_changes(
    routes: APIRouter,
    publish: Publish,
    adopt: Adopt,
    promote: Promote,
    artifacts: ArtifactStore,
    *,
    bytes_max: int,
    files_max: int,
) -> None:
    @routes.post("/models/{model}/versions", status_code=201, openapi_extra=REQUEST_BODY)
    async def publish_version(
        model: ModelName,
        request: Request,
        response: Response,
        caller: Writer,
        once: ContentKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Publish a version: a part ``manifest`` and one part a file, named by its path; or, as
        JSON, an MLflow run that logged them."""
        if (run := await run_asked_for(request)) is not None:
            manifest, files = await adopt(model, run.run_id, run.artifact, run.manifest)
        else:
            manifest, files = await read_version(
                request, artifacts, bytes_max=bytes_max, files_max=files_max
            )
        answer = await publish(model, manifest, files, caller, once=once, dry_run=dry_run)
        if answer.get("existing") or dry_run:
            response.status_code = 200
        response.headers["etag"] = etag(answer["revision"])
        return answer

    @routes.post("/models/{model}/versions/{version}/transitions")
    async def transition(
        model: ModelName,
        version: Version,
        body: TransitionIn,
        response: Response,
        caller: Somebody,
        expected: IfMatch,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Change the version's state; ``archived`` retires the one in production, and nothing of
        the model answers then. Needs ``registry:promote``; a refusal is logged."""
        answer = await promote(
            model, version, body.to, body.reason, caller, expected, once=once, dry_run=dry_run
        )
        response.headers["etag"] = etag(answer["revision"])
        return answer


def _add_pages(routes: APIRouter, describe: Describe) -> None:
    @routes.get("/models")
    async def models(_caller: Reader) -> dict[str, Any]:
        """Every model, with what serves."""
        return {"models": await describe.models()}

    @routes.get("/models/{model}")
    async def model_page(model: ModelName, _caller: Reader) -> dict[str, Any]:
        """One model: its route and its versions."""
        return await describe.model(model)

    @routes.get("/models/{model}/history")
    async def history(model: ModelName, _caller: Reader) -> dict[str, Any]:
        """Which version served when, and why."""
        return await describe.history(model)

    @routes.get("/models/{model}/versions/{version}")
    async def version_page(
        model: ModelName, version: Version, response: Response, _caller: Reader
    ) -> dict[str, Any]:
        """One version with its manifest, state and lineage; its ETag goes into ``If-Match``."""
        answer = await describe.version(model, version)
        response.headers["etag"] = etag(answer["revision"])
        return answer

    @routes.get("/lineage")
    async def lineage(
        _caller: Reader,
        dataset: Annotated[str | None, Query(max_length=256)] = None,
        dataset_digest: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
        feature_fingerprint: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
    ) -> dict[str, Any]:
        """Which versions used a data set or a feature definition, and which of them serve now."""
        return {"versions": await describe.descended(dataset, dataset_digest, feature_fingerprint)}


def _add_contents(routes: APIRouter, describe: Describe, artifacts: ArtifactStore) -> None:
    @routes.get("/models/{model}/versions/{version}/manifest")
    async def manifest(model: ModelName, version: Version, _caller: Reader) -> Response:
        """The manifest alone, byte for byte what was hashed."""
        record = await describe.record(model, version)
        return Response(
            manifest_json(record.manifest),
            media_type="application/json",
            headers={"etag": f'"{record.digest}"'},
        )

    @routes.get("/artifacts/{sha256}", response_class=FileResponse)
    async def artifact(sha256: Digest, _caller: Reader) -> FileResponse:
        """The bytes with that content hash."""
        place = artifacts.locate(sha256)
        if place is None:
            raise Problem(ProblemCode.NOT_FOUND, "There is no artifact with that hash.")
        headers = {"etag": f'"{sha256}"', "cache-control": "private, max-age=31536000, immutable"}
        return FileResponse(place, media_type="application/octet-stream", headers=headers)
