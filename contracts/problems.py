"""The catalogue of problems (RFC 9457): one code, one HTTP status, one constant title.

A problem is the caller's or the world's fault. Ours is an assertion, is never caught, and reaches
the caller as ``internal``.
"""

from enum import Enum
from typing import Self


class ProblemCode(Enum):
    """A stable name that clients may branch on; it is also the last part of the problem's type."""

    MALFORMED_HTTP = "malformed-http", 400, "The request is not well-formed HTTP."
    MALFORMED_JSON = "malformed-json", 400, "The body is not well-formed JSON."
    REQUEST_TIMEOUT = "request-timeout", 408, "The request did not arrive in time.", True
    CONTENT_TOO_LARGE = "content-too-large", 413, "The body is larger than allowed."
    URI_TOO_LONG = "uri-too-long", 414, "The request line is longer than allowed."
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The content type is not supported."
    INVALID_INPUT = "invalid-input", 422, "The input does not fit what is asked for."
    COST_EXCEEDS_QUOTA = "cost-exceeds-quota", 422, "One request asks for more than the quota."
    FEATURE_MISSING = "feature-missing", 422, "A required feature has no value."
    HEADERS_TOO_LARGE = "headers-too-large", 431, "The request headers are larger than allowed."
    UNAUTHENTICATED = "unauthenticated", 401, "A valid API key or token is required."
    FORBIDDEN = "forbidden", 403, "The caller may not do this."
    NOT_FOUND = "not-found", 404, "There is no such thing."
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The method is not allowed here."
    CONFLICT = "conflict", 409, "The request conflicts with the current state."
    PRECONDITION_FAILED = "precondition-failed", 412, "The state has changed since it was read."
    PRECONDITION_REQUIRED = (
        "precondition-required",
        428,
        "The request must name the state it changes.",
    )
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch", 422, "The idempotency key was used before."
    QUOTA_EXCEEDED = "quota-exceeded", 429, "The rate limit is used up.", True
    INTERNAL = "internal", 500, "The service failed."
    BAD_UPSTREAM = "bad-upstream", 502, "A service behind this one answered badly.", True
    OVERLOADED = "overloaded", 503, "The service has no capacity left.", True
    DEPENDENCY_UNAVAILABLE = (
        "dependency-unavailable",
        503,
        "A service that is needed is away.",
        True,
    )
    MODEL_UNAVAILABLE = "model-unavailable", 503, "The model is not loaded.", True
    DEADLINE_EXCEEDED = "deadline-exceeded", 504, "The deadline passed before the answer.", True

    _value_: str
    status: int
    """The HTTP status of this code."""
    title: str
    """Constant, for people."""
    retryable: bool
    """Whether the same request may succeed later without being changed."""
    type_uri: str
    """The reference of the page that explains this problem, on the gateway."""

    def __new__(cls, code: str, status: int, title: str, retryable: bool = False) -> Self:
        """A member of the catalogue."""
        member = object.__new__(cls)
        member._value_ = code
        member.status, member.title, member.retryable = status, title, retryable
        member.type_uri = f"/problems/{code}"
        return member

    __hash__ = object.__hash__  # members are single; Enum's own is a call of Python's


PROBLEM_MEDIA_TYPE = "application/problem+json"
"""The content type of every error body, except on ``/v2`` (Open Inference Protocol)."""
