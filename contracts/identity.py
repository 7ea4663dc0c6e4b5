"""Who is asking, as the gateway tells the services behind it."""

from dataclasses import dataclass, field

SERVICE_TOKEN_HEADER = "x-leadline-service-token"  # noqa: S105 - the header's name
"""Proves to a service that the call comes from inside the platform."""

PRINCIPAL_HEADER = "x-leadline-principal"
SCOPES_HEADER = "x-leadline-scopes"
REQUEST_ID_HEADER = "x-request-id"
DEADLINE_HEADER = "x-leadline-remaining-ms"
"""Milliseconds left of the caller's deadline when the call was sent."""

SCOPES = (
    "predict",  # or predict:<model>
    "labels:write",
    "features:read",
    "features:write",
    "registry:read",
    "registry:write",
    "registry:promote",
    "registry:override",
    "monitor:read",
    "monitor:write",
    "admin",
)
"""Every scope there is. ``admin`` contains all; ``predict`` contains every ``predict:<model>``."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal and what it may do."""

    principal: str
    scopes: frozenset[str] = field(default_factory=frozenset)

    def may(self, scope: str) -> bool:
        """Whether this caller holds ``scope``, directly or by a wider one."""
        if "admin" in self.scopes or scope in self.scopes:
            return True
        family, _, narrower = scope.partition(":")
        return family == "predict" and bool(narrower) and "predict" in self.scopes


INTERNAL_CALLER = Caller("platform", frozenset({"admin"}))
"""A service of the platform acting for itself."""
