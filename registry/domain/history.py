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
    for entry in entries:
        version = champion_after(entry)
        if version is None or (found and found[-1].version == version):
            continue
        if found:
            found[-1] = replace(found[-1], until_us=entry.at_us, ended_why=entry.reason)
        found.append(Reign(version, entry.at_us, None, entry.actor, entry.reason))
    return found


def champion_after(entry: Entry) -> str | None:
    """The version that an act put into production; None when it put none there."""
    after = entry.after or {}
    if entry.action == "version.transition" and after.get("state") == "production":
        return str(after["version"])
    if entry.action == "rollout.roll_back" and "serves" in after:
        return str(after["serves"])
    if entry.action.startswith("rollout.") and after.get("status") == "promoted":
        return str(after["candidate"])
    return None
