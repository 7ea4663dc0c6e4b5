"""``/problems``: the page behind each problem's ``type``."""

from fastapi import APIRouter, Response

from contracts.problems import ProblemCode
from kit.problems import Problem


def problems_router() -> APIRouter:
    """``/problems``: the page behind each problem's ``type``."""
    router = APIRouter(prefix="/problems", tags=["problems"])

    @router.get("")
    async def catalogue() -> list[dict[str, str | int | bool]]:
        """Every problem there is."""
        return [_described(code) for code in ProblemCode]

    @router.get("/{code}")
    async def page(code: str) -> Response:
        """What one problem means."""
        known = {each.value: each for each in ProblemCode}
        if code not in known:
            raise Problem(ProblemCode.NOT_FOUND, "There is no problem of that code.")
        told = _described(known[code])
        again = "may succeed later" if told["retryable"] else "will fail again unless it is changed"
        text = (
            f"{told['code']} ({told['status']})\n\n{told['title']}\n\nThe same request {again}.\n"
        )
        return Response(text, media_type="text/plain")

    return router


def _described(code: ProblemCode) -> dict[str, str | int | bool]:
    return {
        "code": code.value,
        "status": code.status,
        "title": code.title,
        "retryable": code.retryable,
    }
