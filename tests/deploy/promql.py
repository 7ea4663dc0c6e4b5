"""What a PromQL query asks for: metrics, and the labels it expects them to have."""

from collections.abc import Iterator
from typing import Any

import promql_parser

_PARTS = ("expr", "param", "vector_selector")


def parse(query: str) -> Any:
    """The query's tree, with Grafana's variables filled in. Raises ``ValueError``."""
    return promql_parser.parse(
        query.replace("$__rate_interval", "5m").replace("$model", "delay|other")
    )


def asked(query: str) -> dict[str, set[str]]:
    """Metric → the labels by which it is chosen or grouped."""
    found: dict[str, set[str]] = {}
    for name, labels in _selectors(parse(query), frozenset()):
        found.setdefault(name, set()).update(labels)
    return found


def _selectors(node: Any, grouped: frozenset[str]) -> Iterator[tuple[str, set[str]]]:
    kind = type(node).__name__
    if kind == "VectorSelector":
        assert node.name is not None, "a query without a metric's name"
        yield node.name, {matcher.name for matcher in node.matchers.matchers} | grouped
        return
    if kind == "BinaryExpr":
        for side, labels in _sides(node, grouped):
            yield from _selectors(side, labels)
        return
    if kind == "AggregateExpr" and node.modifier is not None:
        assert node.modifier.type == promql_parser.AggModifierType.By, "group by labels, by name"
        grouped = frozenset(node.modifier.labels)  # what is grouped inside has no other labels
    for part in _PARTS:
        child = getattr(node, part, None)
        if child is not None:
            yield from _selectors(child, grouped)
    for argument in getattr(node, "args", ()):
        yield from _selectors(argument, grouped)


def _sides(node: Any, grouped: frozenset[str]) -> list[tuple[Any, frozenset[str]]]:
    """Both sides of an operator with the labels that each has to have.

    Where many match one, the labels by which the result is grouped are the many's.
    """
    if node.modifier is None:
        return [(node.lhs, grouped), (node.rhs, grouped)]
    card, matching = node.modifier.card, node.modifier.matching
    matched = frozenset[str]()
    if matching is not None and matching.type == promql_parser.LabelModifierType.Include:
        matched = frozenset(matching.labels)
    left = card != promql_parser.VectorMatchCardinality.OneToMany
    right = card != promql_parser.VectorMatchCardinality.ManyToOne
    return [
        (node.lhs, matched | (grouped if left else frozenset())),
        (node.rhs, matched | (grouped if right else frozenset())),
    ]
