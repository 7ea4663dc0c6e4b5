"""Which path belongs to which service, which scope opens it, and how large a body may be.

Default deny: a path that is not in this table does not exist for callers.
"""

import re
from dataclasses import dataclass
from typing import Literal

from contracts.identity import Caller

Service = Literal["gateway", "inference", "registry", "feature_store", "monitor"]
OPEN = ""
"""The scope of what anybody may read: vital signs, documentation, problem pages."""
ANY_PREDICT = "predict:*"
"""``predict``, or ``predict:<model>`` for at least one model."""
PROVEN = "*"
"""Any proven caller: the service asks for the scope itself, and keeps the refusal in its log."""

KIB, MIB = 1024, 1024 * 1024
CONTROL_BYTES_MAX = 64 * KIB
CONTROL_S_MAX = 30.0
PREDICT_BYTES_MAX = 4 * MIB
ARTIFACT_BYTES_MAX = 2048 * MIB
_READS = frozenset({"GET", "HEAD"})
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_POST = frozenset({"POST"})


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests whose path matches ``pattern`` go to ``service``; ``read`` covers GET and HEAD."""

    pattern: str
    service: Service
    read: str | None
    write: str | None
    """Scope of ``writes``; None: there is nothing to write."""
    body_bytes_max: int = CONTROL_BYTES_MAX
    body_s_max: float = CONTROL_S_MAX
    writes: frozenset[str] = _WRITES

    def seconds_max(self, method: str) -> float:
        """How long a call may take whose caller names no time: a long one is a long body's."""
        return self.body_s_max if method in self.writes else CONTROL_S_MAX


RULES: tuple[Rule, ...] = (
    Rule(r"/(healthz|readyz|metrics|openapi\.json)", "gateway", OPEN, None),
    Rule(r"/(docs|redoc|static-offline-docs)(/.*)?", "gateway", OPEN, None),
    Rule(r"/problems(/[a-z-]+)?", "gateway", OPEN, None),
    Rule(r"/predict", "gateway", None, ANY_PREDICT, PREDICT_BYTES_MAX, writes=_POST),
    Rule(r"/v1/keys(/.*)?", "gateway", "admin", "admin"),
    Rule(r"/v2/health/(live|ready)", "inference", OPEN, None),
    # They tell of every model, which a key for one of them is not to learn.
    Rule(r"/v2/(repository/index|models/stats)/?", "inference", "predict", "predict"),
    Rule(
        # Inference says which of its paths takes what.
        r"/v2(/.*)?",
        "inference",
        ANY_PREDICT,
        ANY_PREDICT,
        PREDICT_BYTES_MAX,
        writes=_WRITES | {"OPTIONS"},
    ),
    Rule(
        r"/v1/models/[^/]+/versions",
        "registry",
        "registry:read",
        "registry:write",
        ARTIFACT_BYTES_MAX,
        600.0,
    ),
    Rule(
        # The registry itself asks for registry:promote or registry:override here, because a
        # refused promotion belongs into its audit log, whoever tried.
        r"/v1/models/[^/]+/(versions/[^/]+/(transitions|overrides)|rollback)",
        "registry",
        "registry:read",
        PROVEN,
    ),
    Rule(r"/v1/(rollouts|experiments)(/.*)?", "registry", "registry:read", PROVEN),
    Rule(r"/v1/(models|webhooks)(/.*)?", "registry", "registry:read", "registry:write"),
    Rule(r"/v1/artifacts/.+", "registry", "registry:read", None),
    Rule(r"/v1/(audit|routing|lineage)(/.*)?", "registry", "registry:read", "registry:write"),
    Rule(
        r"/v1/features/(online|historical)",
        "feature_store",
        "features:read",
        "features:read",
        PREDICT_BYTES_MAX,
    ),
    Rule(
        r"/v1/features/push",
        "feature_store",
        None,
        "features:write",
        64 * MIB,
        120.0,
    ),
    Rule(r"/v1/features(/.*)?", "feature_store", "features:read", "features:write", MIB),
    Rule(
        r"/v1/(labels|events)(/.*)?", "monitor", "monitor:read", "labels:write", PREDICT_BYTES_MAX
    ),
    Rule(
        r"/v1/(drift|quality|alerts|baselines|reports|evidence)(/.*)?",
        "monitor",
        "monitor:read",
        "monitor:write",
        PREDICT_BYTES_MAX,
    ),
)
_COMPILED = tuple((re.compile(rule.pattern), rule) for rule in RULES)


def rule_for(path: str) -> Rule | None:
    """The first rule that matches the whole path, or None: there is no such thing."""
    for pattern, rule in _COMPILED:
        if pattern.fullmatch(path):
            return rule
    return None


def scope_for(rule: Rule, method: str) -> str | None:
    """The scope that this method needs, or None when the method is not allowed."""
    if method in _READS:
        return rule.read
    return rule.write if method in rule.writes else None


def scope_words(scope: str) -> str:
    """A rule's scope as documents say it (Markdown)."""
    return {
        OPEN: "none",
        ANY_PREDICT: "`predict` or `predict:<model>`",
        PROVEN: "the one that the call names",
    }.get(scope, f"`{scope}`")


def methods_of(rule: Rule) -> str:
    """What ``Allow`` says of a path."""
    reads = sorted(_READS) if rule.read is not None else []
    return ", ".join([*reads, *(sorted(rule.writes) if rule.write is not None else [])])


def may(caller: Caller, scope: str) -> bool:
    """Whether the caller holds the scope of a rule."""
    if scope == ANY_PREDICT:
        return caller.may("predict") or any(held.startswith("predict:") for held in caller.scopes)
    return scope == PROVEN or caller.may(scope)


def brings_no_body(method: str) -> bool:
    """Whether the method brings no body."""
    return method in _READS
