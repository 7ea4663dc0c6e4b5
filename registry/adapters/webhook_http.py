"""Posts to webhooks: signed, short, and never to an address inside our own network.

The address is resolved and checked here, and the connection goes to exactly that address: a name
that answers differently a moment later (DNS rebinding) gains nothing. No redirect is followed.
"""

import asyncio
import socket
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpx
import orjson
from standardwebhooks import Webhook as Signer

from kit.clock import Clock
from kit.http import outside_client
from registry.domain.webhook import Webhook

ANSWER_BYTES_MAX = 64 * 1024
_WITHIN = "http, and addresses of this network, need LEADLINE_WEBHOOK_PRIVATE_ADDRESSES=true"

_TRANSLATED = ip_network("64:ff9b::/96")
"""NAT64 (RFC 6052): the last 32 bits are the IPv4 address that is reached."""
_GLOBAL_UNICAST = ip_network("2000::/3")
"""All that IANA has given out. Python calls global, too, what only a network's own routers know:
site-local and IPv4-compatible addresses, NAT64 of one's own (RFC 8215), segment routing."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether one host outside of every private network has it; one inside IPv6 counts, too."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast


class HttpWebhookPost:
    """See ``registry.ports.WebhookPost``."""

    def __init__(self, clock: Clock, timeout_s: float, *, private: bool) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._private = private
        self._client = outside_client(timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def fault_of(self, url: str) -> str | None:
        """Why this URL may not be posted to, or None."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            return "This is not a URL."
        if parsed.scheme not in ("https", "http") or not parsed.host or parsed.userinfo:
            return "A webhook is an http(s) URL without credentials."
        if parsed.scheme == "http" and not self._private:
            return f"A webhook is https; {_WITHIN}."
        if await self._addresses(parsed):
            return None
        return f"No public address has this name; {_WITHIN}."

    async def __call__(
        self, webhook: Webhook, message_id: str, payload: dict[str, Any]
    ) -> str | None:
        """None when it was taken, else why not, in a few words."""
        url = httpx.URL(webhook.url)
        if (fault := await self.fault_of(webhook.url)) is not None:
            return fault
        addresses = await self._addresses(url)
        if not addresses:
            return "no public address"
        body = orjson.dumps(payload).decode()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(url, addresses[0], webhook.secret, message_id, body)
        except (httpx.HTTPError, TimeoutError, OSError) as failure:
            return type(failure).__name__

    async def _post(
        self, url: httpx.URL, address: str, secret: str, message_id: str, body: str
    ) -> str | None:
        stamp = datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(stamp.timestamp())),
            "webhook-signature": Signer(secret).sign(message_id, stamp, body),
        }
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body.encode(),
            headers=headers,
            extensions={"sni_hostname": url.host},  # the certificate is the name's
        )
        answer = await self._client.send(request, stream=True)
        await answer.aclose()  # what it says beyond its status does not matter
        return None if answer.is_success else f"status {answer.status_code}"

    async def _addresses(self, url: httpx.URL) -> list[str]:
        loop = asyncio.get_running_loop()
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return []
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if self._private:
            return addresses
        # All of them must be public: a name with one private address is no honest name.
        public = all(is_public(ip_address(address)) for address in addresses)
        return addresses if public else []
