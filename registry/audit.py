"""Audit: read the log of every act, and prove that it is what was written."""

from dataclasses import dataclass
from typing import Any

from registry.domain.audit import GENESIS, BrokenChain, Entry, verified
from registry.metrics import AUDIT_BROKEN
from registry.ports import Ledger, Transaction
from registry.preconditions import broken_log

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """Reads; nothing in the registry changes or removes an entry."""

    ledger: Ledger

    async def page(self, after: int, limit: int, model: str | None) -> list[Entry]:
        """Entries in order, from the one after ``after``. Raises ``Problem`` where one of them is
        not what was written."""
        try:
            return await self.ledger.read(lambda tx: tx.entries(after, limit, model))
        except BrokenChain as broken:
            raise broken_log(broken) from broken

    async def head(self) -> dict[str, Any]:
        """What to keep elsewhere, so that a cut tail shows."""
        seq, digest = await self.ledger.read(lambda tx: tx.audit_head())
        return {"seq": seq, "digest": digest}

    async def verify(self) -> dict[str, Any]:
        """The chain from its first entry to the head, page by page."""
        found = await self.ledger.read(_verify)
        AUDIT_BROKEN.set(not found["intact"])
        return found


def _verify(tx: Transaction) -> dict[str, Any]:
    head, (seq, digest) = tx.audit_head(), (0, GENESIS)
    try:
        while page := tx.entries(after=seq, limit=PAGE):
            for entry in verified(page, previous=digest, seq=seq):
                seq, digest = entry.seq, entry.digest
        if (seq, digest) != head:
            raise BrokenChain(seq + 1, f"the log ends here, but its head is {head[0]}")
    except BrokenChain as broken:
        return {"intact": False, "entries": seq, "broken_at": broken.seq, "what": str(broken)}
    return {"intact": True, "entries": seq, "head": digest}
