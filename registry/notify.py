"""Notify: subscribers are told of acts, in order, signed, until they have taken them.

What is told is the audit log; each subscriber has a cursor in it. So nothing is lost by a restart,
and an act is told at least once (its sequence number tells repeats apart).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act, Entry
from registry.domain.webhook import Webhook
from registry.metrics import WEBHOOK_DELIVERIES
from registry.ports import Ledger, Transaction, WebhookPost

LEASE = "webhooks"
PAGE = 200
WEBHOOKS_MAX = 50
SECRET_PREFIX = "whsec_"  # noqa: S105 - Standard Webhooks' mark of a secret


@dataclass(frozen=True, slots=True)
class Notify:
    """Keeps subscribers and delivers to them; ``__call__`` is run again and again."""

    ledger: Ledger
    post: WebhookPost
    new_secret: Callable[[], str]
    wall_us: Callable[[], int]
    holder: str
    lease_s: float

    async def subscribe(
        self, url: str, actions: tuple[str, ...] | None, caller: Caller
    ) -> dict[str, Any]:
        """A new subscriber, told from now on; the only answer that shows its secret."""
        if (fault := await self.post.fault_of(url)) is not None:
            raise Problem(ProblemCode.INVALID_INPUT, fault)
        secret = SECRET_PREFIX + self.new_secret()

        def work(tx: Transaction) -> Webhook:
            known = tx.webhooks()
            if len(known) >= WEBHOOKS_MAX:
                raise Problem(ProblemCode.CONFLICT, f"There may be {WEBHOOKS_MAX} webhooks.")
            seq, _ = tx.audit_head()
            webhook = Webhook(id=f"wh-{seq + 1}", url=url, secret=secret, cursor=seq + 1)
            if actions is not None:
                webhook = webhook.model_copy(update={"actions": actions})
            tx.put_webhook(webhook)
            tx.record(_act(caller, "webhook.subscribed", webhook))
            return webhook

        webhook = await self.ledger.write(work)
        return shown(webhook) | {"secret": secret}

    async def unsubscribe(self, webhook_id: str, caller: Caller) -> None:
        """Raises ``Problem`` when there is no such subscriber."""

        def work(tx: Transaction) -> None:
            found = next((one for one in tx.webhooks() if one.id == webhook_id), None)
            if found is None:
                raise Problem(ProblemCode.NOT_FOUND, "There is no such webhook.")
            tx.drop_webhook(webhook_id)
            tx.record(_act(caller, "webhook.unsubscribed", found))

        await self.ledger.write(work)

    async def subscribers(self) -> list[dict[str, Any]]:
        """Without their secrets."""
        return [shown(one) for one in await self.ledger.read(lambda tx: tx.webhooks())]

    async def __call__(self) -> None:
        """Deliver what is due once; does nothing while another copy holds the lease."""
        webhooks = await self.ledger.read(lambda tx: tx.webhooks())
        due = [one for one in webhooks if not one.disabled and one.next_wall_us <= self.wall_us()]
        head, _ = await self.ledger.read(lambda tx: tx.audit_head())
        due = [one for one in due if one.cursor < head]
        if not due:
            return
        if not await self.ledger.write(lambda tx: tx.take_lease(LEASE, self.holder, self.lease_s)):
            return
        for webhook in due:
            await self._deliver(webhook)

    async def _deliver(self, webhook: Webhook) -> None:
        entries = await self.ledger.read(lambda tx: tx.entries(webhook.cursor, PAGE))
        for entry in entries:
            if webhook.wants(entry.action):
                failure = await self.post(webhook, message_id(entry), payload_of(entry))
                WEBHOOK_DELIVERIES.labels("failed" if failure else "delivered").inc()
                if failure:
                    webhook = webhook.failed(failure, self.wall_us())
                    break
            webhook = webhook.delivered(entry.seq)
        await self._keep(webhook)

    async def _keep(self, webhook: Webhook) -> None:
        def work(tx: Transaction) -> None:
            if any(one.id == webhook.id for one in tx.webhooks()):  # not unsubscribed meanwhile
                tx.put_webhook(webhook)

        await self.ledger.write(work)


def origin_of(url: str) -> str:
    """Where a webhook goes, for all who may read the audit log: the rest of a URL is often what
    proves the sender."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def message_id(entry: Entry) -> str:
    """Names the act; the same at every repeat, and not that of another act, which has the same
    place in a log that was restored from a copy."""
    return f"audit-{entry.seq}-{entry.digest[:16]}"


def payload_of(entry: Entry) -> dict[str, Any]:
    """Standard Webhooks' members: type, timestamp, data."""
    return {
        "type": entry.action,
        "timestamp": entry.wall_us,
        "data": entry.model_dump(mode="json", exclude={"previous", "digest", "evidence"}),
    }


def shown(webhook: Webhook) -> dict[str, Any]:
    """A subscriber without its secret."""
    return webhook.model_dump(mode="json", exclude={"secret"})


def _act(caller: Caller, action: str, webhook: Webhook) -> Act:
    return Act(
        actor=caller.principal,
        action=action,
        subject=webhook.id,
        after={"url": origin_of(webhook.url)},
    )
