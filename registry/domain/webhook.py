"""A webhook: who is told of which acts, and how far (a cursor in the audit log)."""

from pydantic import BaseModel, ConfigDict, Field

ATTEMPTS_MAX = 12
DELAY_S_MAX = 3600.0
ACTIONS = r"^(version|rollout|experiment|transition|alias|webhook)\.[a-z_.]*$"
"""What may be asked for: the beginning of an audit action with its first word whole. A word that no
action begins with would be waited for in vain."""


class Webhook(BaseModel):
    """One subscriber. The secret signs (Standard Webhooks) and is never shown again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    url: str = Field(max_length=2000)
    secret: str
    actions: tuple[str, ...] = ("version.", "rollout.", "experiment.")
    """Prefixes of the audit actions that are told."""
    cursor: int
    """The last audit entry that was delivered or needs no delivery."""
    attempts: int = 0
    """Failed attempts at the entry after the cursor."""
    next_wall_us: int = 0
    failing: str = ""
    disabled: bool = False

    def wants(self, action: str) -> bool:
        """Whether this subscriber is told of that action."""
        return action.startswith(self.actions)

    def delivered(self, seq: int) -> "Webhook":
        """After a success, or past an entry nobody asked for."""
        return self.model_copy(
            update={"cursor": seq, "attempts": 0, "next_wall_us": 0, "failing": ""}
        )

    def failed(self, why: str, wall_us: int) -> "Webhook":
        """After a failure: later again, with doubling delays; in the end it is switched off."""
        attempts = self.attempts + 1
        delay_s = min(2.0**attempts, DELAY_S_MAX)
        return self.model_copy(
            update={
                "attempts": attempts,
                "next_wall_us": wall_us + int(delay_s * 1e6),
                "failing": why,
                "disabled": attempts >= ATTEMPTS_MAX,
            }
        )
