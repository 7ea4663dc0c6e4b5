"""Problems as exceptions and as bodies (RFC 9457)."""

from collections.abc import Iterable
from typing import Any

import orjson

from contracts.problems import PROBLEM_MEDIA_TYPE, ProblemCode

ERRORS_MAX = 20
"""No more single errors are listed in one body."""


class Problem(Exception):
    """The caller's or the world's fault, to be answered as one of the catalogue's problems.

    ``detail`` is a sentence for the caller that says how to mend it; it carries no input, stack,
    path or SQL. ``extra`` members are added to the body.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        retry_after_s: int | None = None,
        **extra: Any,  # members of the body, JSON values
    ) -> None:
        super().__init__(f"{code.value}: {detail}")
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        if retry_after_s is None and code.status == 503:
            self.retry_after_s = 1
        self.extra = extra
        if errors:
            self.extra["errors"] = errors[:ERRORS_MAX]

    def body(self, request_id: str = "", instance: str = "") -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": self.code.type_uri,
            "title": self.code.title,
            "status": self.code.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code.value,
            "request_id": request_id,
            "retryable": self.code.retryable,
            **self.extra,
        }

    def headers(self) -> dict[str, str]:
        """The HTTP headers that go with the body."""
        headers = {"content-type": PROBLEM_MEDIA_TYPE}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self.code is ProblemCode.UNAUTHENTICATED:
            headers["www-authenticate"] = 'Bearer realm="leadline"'
        return headers


def problem_body(problem: Problem, request_id: str = "", instance: str = "") -> bytes:
    """The problem document as JSON bytes."""
    return orjson.dumps(problem.body(request_id, instance))


def invalid_input(errors: Iterable[Any]) -> Problem:
    """The problem for pydantic's ``errors()``: pointers and codes, never the input."""
    listed = [
        {
            "pointer": "/" + "/".join(str(part) for part in error["loc"][1:]),
            "code": str(error["type"]),
        }
        for error in errors
    ]
    if any(error["code"] == "json_invalid" for error in listed):
        return Problem(ProblemCode.MALFORMED_JSON, "The body could not be read as JSON.")
    where = ", ".join(error["pointer"] for error in listed[:3])
    return Problem(
        ProblemCode.INVALID_INPUT, f"Not as the schema wants it: {where}.", errors=listed
    )
