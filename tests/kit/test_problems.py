import pytest

from contracts.problems import ProblemCode
from kit.problems import Problem


@pytest.mark.parametrize("code", ProblemCode)
def test_every_refusal_for_now_says_when_to_come_again(code: ProblemCode) -> None:
    headers = Problem(code, "Not now.").headers()
    assert ("retry-after" in headers) == (code.status in (429, 503))
    assert Problem(code, "Not now.", retry_after_s=7).headers()["retry-after"] == "7"
