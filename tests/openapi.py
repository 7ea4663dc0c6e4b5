"""Sends what an OpenAPI document allows, and what it does not, and wants no server error.

One answer above 499 is none: where an operation documents that very status (``/readyz`` its 503),
the answer has to be as documented.
"""

from collections.abc import Mapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance

PATIENCE_S = 60
"""Longer than any call may wait for news."""


def attack(
    base_url: str, document: dict[str, Any], headers: Mapping[str, str], *, examples: int
) -> set[str]:
    """Send ``examples`` generated requests for every operation; the operations that were tried."""
    schema = schemathesis.openapi.from_dict(document)
    tried = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        tried.add(operation.label)

        @settings(
            max_examples=examples, deadline=None, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def send(case: schemathesis.Case) -> None:
            response = case.call(base_url=base_url, headers=dict(headers), timeout=PATIENCE_S)
            status, documented = response.status_code, case.operation.definition.raw["responses"]
            as_told = status >= 500 and str(status) in documented
            check = response_schema_conformance if as_told else not_a_server_error
            case.validate_response(response, checks=[check])

        send()
    return tried
