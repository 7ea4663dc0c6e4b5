"""Reads a published version from a multipart body: a manifest, and files named by their paths."""

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.ports import ArtifactStore, StagedFile

MANIFEST_PART = "manifest"
MANIFEST_BYTES_MAX = 8 * 1024 * 1024
FIELDS_MAX = 2
"""Parts that are no files stay in memory: the manifest, and one more, so as to say so."""
CHUNK = 1024 * 1024


async def read_version(
    request: Request, artifacts: ArtifactStore, *, bytes_max: int, files_max: int
) -> tuple[bytes, tuple[StagedFile, ...]]:
    """The manifest as JSON and every file, staged. Raises ``Problem``; then nothing stays so."""
    form = await _parse(request, bytes_max, files_max)
    staged: list[StagedFile] = []
    try:
        manifest = await _manifest(form)
        for name, part in form.multi_items():
            if name == MANIFEST_PART:
                continue
            if not isinstance(part, UploadFile):
                raise Problem(ProblemCode.INVALID_INPUT, "Send every file as a file part.")
            if any(file.entry.path == name for file in staged):
                raise Problem(ProblemCode.INVALID_INPUT, "Two parts have the same name.")
            staged.append(await artifacts.stage(name, _chunks(part)))
    except BaseException:
        await artifacts.discard(staged)
        raise
    finally:
        await form.close()
    return manifest, tuple(staged)


async def _parse(request: Request, bytes_max: int, files_max: int) -> FormData:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "Send multipart/form-data, or JSON.")

    async def counted() -> AsyncIterator[bytes]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > bytes_max:
                raise Problem(
                    ProblemCode.CONTENT_TOO_LARGE, f"A version may have {bytes_max} bytes."
                )
            yield chunk

    parser = MultiPartParser(
        request.headers,
        counted(),  # type: ignore[arg-type]  # any async iterator does; the stub wants a generator
        max_files=files_max + 1,
        max_fields=FIELDS_MAX,
        max_part_size=MANIFEST_BYTES_MAX,
    )
    try:
        return await parser.parse()
    except (MultiPartException, KeyError) as broken:
        raise Problem(
            ProblemCode.INVALID_INPUT, "The body is not well-formed multipart/form-data."
        ) from broken


async def _manifest(form: FormData) -> bytes:
    part = form.get(MANIFEST_PART)
    if part is None:
        raise Problem(ProblemCode.INVALID_INPUT, f"The part {MANIFEST_PART} is missing.")
    if isinstance(part, UploadFile):
        return await part.read(MANIFEST_BYTES_MAX)
    return part.encode()


async def _chunks(part: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await part.read(CHUNK):
        yield chunk
