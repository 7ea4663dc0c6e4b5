"""Champions: which version served when, and why it was replaced, read from the audit log."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from registry.domain.audit import Entry


@dataclass(frozen=True, slots=True)
class Reign:
    """A version in production, from one act to the next."""

    version: str
    from_us: int
    until_us: int | None
    by: str
    why: str
    ended_why: str = ""


def reigns(entries: Iterable[Entry]) -> list[Reign]:
    """One model's entries in order -> its versions in production in order."""
    found: list[Reign] = []
    reigning: str | None = None
    for entry in entries:
        version = champion_after(entry, reigning)
        if version == reigning:
            continue
        if reigning is not None:
            found[-1] = replace(found[-1], until_us=entry.at_us, ended_why=entry.reason)
        if version is not None:
            found.append(Reign(version, entry.at_us, None, entry.actor, entry.reason))
        reigning = version
    return found


def champion_after(entry: Entry, reigning: str | None) -> str | None:
    """The version in production after an act, where ``reigning`` was before; None: nothing is."""
    after = entry.after or {}
    if entry.action == "version.transition" and "state" in after:
        if after["state"] == "production":
            return str(after["version"])
        return None if (entry.before or {}).get("state") == "production" else reigning
    if entry.action == "rollout.roll_back" and "serves" in after:
        return str(after["serves"])
    if entry.action.startswith("rollout.") and after.get("status") == "promoted":
        return str(after["candidate"])
    return reigning
