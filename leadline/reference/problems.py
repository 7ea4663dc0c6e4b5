"""The problems that callers can get."""

from contracts.problems import ProblemCode
from leadline.reference.markdown import page, table


def problems_page() -> str:
    """The catalogue of problems."""
    rows = (
        (f"`{code.value}`", str(code.status), "yes" if code.retryable else "no", code.title)
        for code in sorted(ProblemCode, key=lambda code: (code.status, code.value))
    )
    intro = (
        "Every error body is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, "
        "`detail`, `instance`, `code`, `request_id` and `retryable`; branch on `code`. Under `/v2` "
        'it is `{"error": "…"}`, as the Open Inference Protocol wants. The gateway explains each '
        "at `/problems/<code>`. Where places of a body are wrong, `errors` lists up to 20 of them, "
        "each a `pointer` (RFC 6901) and a `code`; what was sent is never repeated."
    )
    return page("Problems", intro, [table(("code", "status", "retry may help", "title"), rows)])
