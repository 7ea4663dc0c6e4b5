"""What a caller reads when the platform refuses."""

from leadline.client import ProblemError


def test_a_refusal_names_every_place_that_does_not_fit() -> None:
    body = {
        "code": "invalid-input",
        "detail": "The instances do not fit what this model takes.",
        "errors": [
            {"pointer": "/instances/0/origin", "code": "missing"},
            {"pointer": "", "code": "unknown-member"},
        ],
    }
    assert ProblemError(422, body).message.splitlines() == [
        "The instances do not fit what this model takes. (invalid-input, HTTP 422)",
        "  /instances/0/origin: missing",
        "  /: unknown-member",
    ]


def test_a_refusal_without_places_is_one_line() -> None:
    body = {"code": "not-found", "detail": "No model of this name is served.", "errors": "none"}
    said = ProblemError(404, body).message
    assert said == "No model of this name is served. (not-found, HTTP 404)"
