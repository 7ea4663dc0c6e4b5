"""The online store in this process's memory: for tests, and for asking without a server.

It is also a ``Pipeline`` for the reader: it answers HMGET and HGET.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from feature_store.domain.plan import Wanted, applied_key
from feature_store.domain.records import FLAGS_AT, MORE, order_of
from feature_store.ports import Fields, Swap


class MemoryStore:
    """A dict of dicts with the same promises as the Redis store."""

    def __init__(self, namespace: str = "ll") -> None:
        self._positions = applied_key(namespace).encode()
        self._hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._applied: dict[str, int] = {}

    def execute_each(self, asked: Sequence[Wanted]) -> "asyncio.Future[list[Any]]":
        """Answer HMGET and HGET commands, as a pipeline would."""
        future = asyncio.get_running_loop().create_future()
        replies: list[Any] = []
        for name, keys, fields in asked:
            assert name in (b"HMGET", b"HGET")
            read = self._at if list(keys) == [self._positions] else None
            found = [self._get(key, fields) if read is None else read(fields) for key in keys]
            replies += found if name == b"HMGET" else [value for (value,) in found]
        future.set_result(replies)
        return future

    def _at(self, fields: Sequence[Any]) -> Fields:
        positions = [self._applied.get(field.decode()) for field in fields]
        return [None if at is None else b"%d" % at for at in positions]

    def _get(self, key: bytes, fields: Sequence[Any]) -> Fields:
        present = self._hashes.get(key, {})
        return [present.get(field) for field in fields]

    async def get(self, wanted: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Fields]:
        return [self._get(key, fields) for key, fields in wanted]

    async def put(self, values: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        for key, fields in values:
            self._hashes.setdefault(key, {}).update(fields)

    async def put_newer(self, records: Sequence[tuple[bytes, bytes, bytes]]) -> list[int]:
        contended = []
        for place, (key, field, record) in enumerate(records):
            fields = self._hashes.setdefault(key, {})
            present = fields.get(field)
            if present is not None and present[FLAGS_AT] & MORE:
                contended.append(place)
            elif present is None or order_of(record) > order_of(present):
                fields[field] = record
        return contended

    async def swap(self, swaps: Sequence[Swap]) -> list[int]:
        lost = []
        for place, one in enumerate(swaps):
            fields = self._hashes.setdefault(one.key, {})
            present = fields.get(one.field)
            unchanged = _unchanged(present, one)
            if not unchanged:
                lost.append(place)
                continue
            fields[one.field] = one.value
            fields.update(one.also)
            for field in one.drop:
                fields.pop(field, None)
        return lost

    async def applied(self) -> dict[str, int]:
        return dict(self._applied)

    async def set_applied(self, positions: Mapping[str, int]) -> None:
        self._applied.update(positions)

    async def wipe(self) -> None:
        self._hashes.clear()
        self._applied.clear()

    async def fields_of(self, field: bytes) -> list[tuple[bytes, bytes]]:
        return [(key, fields[field]) for key, fields in self._hashes.items() if field in fields]


def _unchanged(present: bytes | None, one: Swap) -> bool:
    if one.guard is None or present is None or one.whole:
        return present == one.guard
    return present.startswith(one.guard)
