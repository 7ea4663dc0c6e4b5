from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.problems import ProblemCode
from kit.problems import Problem, unfit


@pytest.mark.parametrize("code", ProblemCode)
def test_every_refusal_for_now_says_when_to_come_again(code: ProblemCode) -> None:
    headers = Problem(code, "Not now.").headers()
    assert ("retry-after" in headers) == (code.status in (429, 503))
    assert Problem(code, "Not now.", retry_after_s=7).headers()["retry-after"] == "7"


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Order(BaseModel):
    lines: list[Line]


@pytest.mark.parametrize(
    ("member", "pointer"),
    [
        ("price", "/order/lines/0/price"),
        ("a/b~c", "/order/lines/0/a~1b~0c"),
        ("", "/order/lines/0/"),
        ("x" * 65, "/order/lines/0"),
    ],
)
def test_a_pointer_is_one_of_rfc_6901_and_repeats_no_long_name(member: str, pointer: str) -> None:
    body: Any = {"lines": [{member: 1}]}
    with pytest.raises(ValidationError) as refused:
        Order.model_validate(body)
    problem = unfit(refused.value, "order")
    assert problem.extra["errors"] == [{"pointer": pointer, "code": "extra-forbidden"}]
    assert len(problem.detail) < 120
