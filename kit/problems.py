"""Problems as exceptions and as bodies (RFC 9457)."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import takewhile
from typing import Any, get_args

import orjson
from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

from contracts.problems import PROBLEM_MEDIA_TYPE, ProblemCode

ERRORS_MAX = 20
"""No more single errors are listed in one body."""
WANTED_CHARACTERS_MAX = 120
NAME_CHARACTERS_MAX = 64
"""Longer names of members are not repeated."""
_TOLD = frozenset(
    {
        "missing", "extra_forbidden", "string_type", "string_too_short", "string_too_long",
        "int_type", "float_type", "bool_type", "dict_type", "list_type", "tuple_type",
        "model_attributes_type", "too_short", "too_long", "greater_than",
        "greater_than_equal", "less_than", "less_than_equal", "literal_error", "enum",
        "int_parsing", "float_parsing", "bool_parsing",
        "datetime_type", "datetime_parsing", "datetime_from_date_parsing", "finite_number",
        "timezone_aware", "string_pattern_mismatch",
    }
)  # fmt: skip
_SOME_ID = "0" * 32
_PYDANTICS = frozenset(get_args(ErrorType)) - {"value_error"}
"""Everything else is in a schema's own words."""
_NO_OBJECT = frozenset({"model_attributes_type", "dict_type", "list_type"})
_PLAIN = (
    ("valid dictionary or object to extract fields from", "JSON object"),
    ("valid dictionary", "JSON object"),
    ("Tuple should", "List should"),
    ("tuple", "list"),
)
"""pydantic speaks of Python; callers send JSON."""


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
        if retry_after_s is None and code.status in (429, 503):
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
    if problem.extra or not request_id.isalnum():
        return orjson.dumps(problem.body(request_id, instance))
    before, after = _around_id(problem.code, problem.detail, instance)
    return b"%b%b%b" % (before, request_id.encode(), after)


@lru_cache(maxsize=256)  # a refusal is to cost less than an answer
def _around_id(code: ProblemCode, detail: str, instance: str) -> tuple[bytes, bytes]:
    """A problem document in two parts, for they differ by the request's id alone."""
    body = Problem(code, detail).body(_SOME_ID, instance)
    before, _, after = orjson.dumps(body).rpartition(_SOME_ID.encode())
    return before, after


def invalid_input(errors: Iterable[Any]) -> Problem:
    """The problem for pydantic's ``errors()``: pointers and codes, never the input."""
    errors = list(errors)
    errors = [error for error in errors if not _follows_from(error, errors)]
    if any(
        error["type"] in _NO_OBJECT and isinstance(error.get("input"), bytes) for error in errors
    ):
        detail = "Send the body as JSON, and say so: Content-Type: application/json."
        return Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail)
    listed = [
        {"pointer": _pointer(error["loc"][1:]), "code": str(error["type"]).replace("_", "-")}
        for error in errors
    ]
    if any(error["code"] == "json-invalid" for error in listed):
        return Problem(ProblemCode.MALFORMED_JSON, "The body could not be read as JSON.")
    where = "; ".join(
        (one["pointer"] or "the body") + _wanted(error)
        for one, error in zip(listed[:3], errors[:3], strict=True)
    )
    return Problem(
        ProblemCode.INVALID_INPUT, f"Not as the schema wants it: {where}.", errors=listed
    )


def unfit(refused: ValidationError, *place: str) -> Problem:
    """The problem for a body that pydantic refused, or for the part of it at ``place``."""
    errors = refused.errors(include_input=False, include_url=False, include_context=False)
    return invalid_input([{**one, "loc": ("body", *place, *one["loc"])} for one in errors])


def _pointer(place: Iterable[object]) -> str:
    """RFC 6901, as far as the names on the way are short: members are the caller's to name."""
    named = takewhile(lambda part: len(part) <= NAME_CHARACTERS_MAX, map(str, place))
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in named)


def _follows_from(error: Mapping[str, Any], errors: list[Mapping[str, Any]]) -> bool:
    """Whether a list is too short only because what is wrong with its items was not counted."""
    at = error["loc"]
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in errors
    )


def no_such_path(path: str) -> str:
    """What is told of a path that is not there."""
    slash = "; this one ends with a slash too many" if path.endswith("/") and path != "/" else ""
    return f"There is no such path{slash}; /docs names those there are."


def _wanted(error: Mapping[str, Any]) -> str:
    """What is said of a field, where that is of the schema and cannot be of the input."""
    message = str(error["msg"]).removeprefix("Value error, ")
    for word, plain in _PLAIN:
        message = message.replace(word, plain)
    fit_to_tell = error["type"] in _TOLD or error["type"] not in _PYDANTICS
    told = fit_to_tell and len(message) <= WANTED_CHARACTERS_MAX
    return f" ({message[0].lower()}{message[1:]})" if told else ""
