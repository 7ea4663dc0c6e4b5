"""``/v1/keys``: an administrator's view of API keys."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from contracts.identity import Caller
from gateway.domain.keys import (
    DEFAULT_QUOTA_ROWS,
    DEFAULT_WINDOW_S,
    PRINCIPAL_CHARACTERS_MAX,
    KeyRecord,
)
from gateway.issue_keys import IssueKeys
from kit.identity import needs, require


class KeyIn(BaseModel):
    """A request for a key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    principal: str = Field(
        min_length=1, max_length=PRINCIPAL_CHARACTERS_MAX, examples=["billing-service"]
    )
    scopes: list[str] = Field(min_length=1, max_length=32, examples=[["predict:delay"]])
    expires_in_s: int | None = Field(default=None, ge=1, le=10 * 366 * 86_400)
    quota_rows: int = Field(default=DEFAULT_QUOTA_ROWS, ge=1, le=1_000_000_000)
    window_s: int = Field(default=DEFAULT_WINDOW_S, ge=1, le=86_400)


class KeyOut(BaseModel):
    """What may be shown of a key."""

    id: str
    env: str
    principal: str
    scopes: list[str]
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    quota_rows: int
    window_s: int

    @classmethod
    def of(cls, record: KeyRecord) -> "KeyOut":
        """Everything but the digest."""
        shown = {name: getattr(record, name) for name in cls.model_fields}
        return cls.model_validate({**shown, "scopes": list(record.scopes)})


class NewKeyOut(KeyOut):
    """A new key; ``key`` is shown this once."""

    key: str


class KeysOut(BaseModel):
    """All keys, the oldest first."""

    keys: list[KeyOut]


Admin = Annotated[Caller, needs("admin")]


def keys_router(issue: IssueKeys) -> APIRouter:
    """``/v1/keys``."""
    router = APIRouter(prefix="/v1/keys", tags=["keys"])

    @router.post("", status_code=201)
    async def create(asked: KeyIn, caller: Admin) -> NewKeyOut:
        """Make a key for a principal, which may have two live ones."""
        key, record = await issue.create(
            caller,
            asked.principal,
            asked.scopes,
            expires_in_s=asked.expires_in_s,
            quota_rows=asked.quota_rows,
            window_s=asked.window_s,
        )
        return NewKeyOut(**KeyOut.of(record).model_dump(), key=key)

    @router.get("", dependencies=[Depends(require("admin"))])
    async def all_keys() -> KeysOut:
        """List keys without their secrets."""
        return KeysOut(keys=[KeyOut.of(record) for record in issue.all()])

    @router.delete("/{key_id}")
    async def revoke(key_id: str, caller: Admin) -> KeyOut:
        """End a key; every gateway refuses it within 5 s."""
        return KeyOut.of(await issue.revoke(caller, key_id))

    return router
