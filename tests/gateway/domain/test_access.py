"""The rules of who may ask what."""

from contracts.identity import SCOPES
from gateway.domain.access import OPEN, PROVEN, RULES, rule_for


def test_only_what_brings_a_long_body_may_take_long() -> None:
    rule = rule_for("/v1/models/m/versions")
    assert rule is not None
    assert (rule.seconds_max("POST"), rule.seconds_max("GET")) == (600.0, 30.0)


def test_every_rule_has_a_scope_that_exists() -> None:
    known = {*SCOPES, OPEN, PROVEN, "predict:*", None}
    assert {scope for rule in RULES for scope in (rule.read, rule.write)} <= known
    opened = [rule.pattern for rule in RULES if rule.write == OPEN]
    assert opened == [], "nothing may be written without a scope"
    trusted = {rule.service for rule in RULES if PROVEN in (rule.read, rule.write)}
    assert trusted == {"registry"}, "only the registry asks for the scope itself"
