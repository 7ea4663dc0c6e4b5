"""The catalogue of problems (RFC 9457): one code, one HTTP status, one constant title.

A problem is the caller's or the world's fault. Ours is an assertion, is never caught, and reaches
the caller as ``internal``.
"""

from enum import Enum


class ProblemCode(Enum):
    """A stable name that clients may branch on; it is also the last part of the problem's type."""

    MALFORMED_HTTP = "malformed-http"
    MALFORMED_JSON = "malformed-json"
    REQUEST_TIMEOUT = "request-timeout"
    CONTENT_TOO_LARGE = "content-too-large"
    URI_TOO_LONG = "uri-too-long"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    INVALID_INPUT = "invalid-input"
    COST_EXCEEDS_QUOTA = "cost-exceeds-quota"
    FEATURE_MISSING = "feature-missing"
    HEADERS_TOO_LARGE = "headers-too-large"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition-failed"
    PRECONDITION_REQUIRED = "precondition-required"
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch"
    QUOTA_EXCEEDED = "quota-exceeded"
    INTERNAL = "internal"
    BAD_UPSTREAM = "bad-upstream"
    OVERLOADED = "overloaded"
    DEPENDENCY_UNAVAILABLE = "dependency-unavailable"
    MODEL_UNAVAILABLE = "model-unavailable"
    DEADLINE_EXCEEDED = "deadline-exceeded"

    @property
    def status(self) -> int:
        """The HTTP status of this code."""
        return _CATALOGUE[self][0]

    @property
    def title(self) -> str:
        """The constant, human-readable title of this code."""
        return _CATALOGUE[self][1]

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later without being changed."""
        return _CATALOGUE[self][2]

    @property
    def type_uri(self) -> str:
        """The reference of the page that explains this problem, on the gateway."""
        return f"/problems/{self.value}"


_CATALOGUE: dict[ProblemCode, tuple[int, str, bool]] = {
    ProblemCode.MALFORMED_HTTP: (400, "The request is not well-formed HTTP.", False),
    ProblemCode.MALFORMED_JSON: (400, "The body is not well-formed JSON.", False),
    ProblemCode.REQUEST_TIMEOUT: (408, "The request did not arrive in time.", True),
    ProblemCode.CONTENT_TOO_LARGE: (413, "The body is larger than allowed.", False),
    ProblemCode.URI_TOO_LONG: (414, "The request line is longer than allowed.", False),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: (415, "The content type is not supported.", False),
    ProblemCode.INVALID_INPUT: (422, "The input does not fit what is asked for.", False),
    ProblemCode.COST_EXCEEDS_QUOTA: (422, "One request asks for more than the quota.", False),
    ProblemCode.FEATURE_MISSING: (422, "A required feature has no value.", False),
    ProblemCode.HEADERS_TOO_LARGE: (431, "The request headers are larger than allowed.", False),
    ProblemCode.UNAUTHENTICATED: (401, "A valid API key or token is required.", False),
    ProblemCode.FORBIDDEN: (403, "The caller may not do this.", False),
    ProblemCode.NOT_FOUND: (404, "There is no such thing.", False),
    ProblemCode.METHOD_NOT_ALLOWED: (405, "The method is not allowed here.", False),
    ProblemCode.CONFLICT: (409, "The request conflicts with the current state.", False),
    ProblemCode.PRECONDITION_FAILED: (412, "The state has changed since it was read.", False),
    ProblemCode.PRECONDITION_REQUIRED: (428, "The request must name the state it changes.", False),
    ProblemCode.IDEMPOTENCY_MISMATCH: (422, "The idempotency key was used before.", False),
    ProblemCode.QUOTA_EXCEEDED: (429, "The rate limit is used up.", True),
    ProblemCode.INTERNAL: (500, "The service failed.", False),
    ProblemCode.BAD_UPSTREAM: (502, "A service behind this one answered badly.", True),
    ProblemCode.OVERLOADED: (503, "The service has no capacity left.", True),
    ProblemCode.DEPENDENCY_UNAVAILABLE: (503, "A service that is needed is away.", True),
    ProblemCode.MODEL_UNAVAILABLE: (503, "The model is not loaded.", True),
    ProblemCode.DEADLINE_EXCEEDED: (504, "The deadline passed before the answer.", True),
}
assert set(_CATALOGUE) == set(ProblemCode)

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""The content type of every error body, except on ``/v2`` (Open Inference Protocol)."""
