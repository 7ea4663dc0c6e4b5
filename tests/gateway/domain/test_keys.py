import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import (
    InvalidKey,
    dump_keys,
    load_keys,
    merge,
    mint_key,
    proves,
    read_key,
)

PEPPER = b"p" * 32


def test_a_minted_key_proves_itself_and_names_its_id() -> None:
    key, record = mint_key("local", "ann", ["admin"], pepper=PEPPER, now_us=1)
    assert read_key(key.encode()) == record.id
    assert proves(key.encode(), record, PEPPER)
    assert key.split("_")[3] not in record.digest


def test_another_pepper_another_key_or_no_record_proves_nothing() -> None:
    key, record = mint_key("local", "ann", ["admin"], pepper=PEPPER, now_us=1)
    other, _ = mint_key("local", "ann", ["admin"], pepper=PEPPER, now_us=1)
    assert not proves(key.encode(), record, b"q" * 32)
    assert not proves(other.encode(), record, PEPPER)
    assert not proves(key.encode(), None, PEPPER)


@given(st.integers(min_value=0, max_value=200), st.integers(min_value=0, max_value=255))
def test_no_changed_byte_passes(position: int, byte: int) -> None:
    key, record = mint_key("local", "ann", ["predict"], pepper=PEPPER, now_us=1)
    changed = bytearray(key.encode())
    changed[position % len(changed)] = byte
    assert proves(bytes(changed), record, PEPPER) == (bytes(changed) == key.encode())


@given(st.binary(max_size=100))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    key_id = read_key(data)
    assert key_id is None or data.startswith(b"ll_")
    assert not proves(data, None, PEPPER)


def test_a_key_lives_until_it_expires_or_is_revoked() -> None:
    _, record = mint_key("local", "ann", ["admin"], pepper=PEPPER, now_us=1, expires_us=100)
    assert record.live(99)
    assert not record.live(100)
    revoked = merge(record, load_keys(dump_keys([record]).replace(b"null", b"50"))[0])
    assert revoked.revoked_us == 50
    assert not revoked.live(60)


def test_merging_never_brings_a_revoked_key_back() -> None:
    _, record = mint_key("local", "ann", ["admin"], pepper=PEPPER, now_us=1)
    revoked = load_keys(dump_keys([record]).replace(b'"revoked_us": null', b'"revoked_us": 5'))[0]
    assert merge(revoked, record).revoked_us == 5
    assert merge(record, revoked).revoked_us == 5


def test_a_snapshot_holds_every_record_and_no_secret() -> None:
    keys = [mint_key("test", f"p{i}", ["predict:delay"], pepper=PEPPER, now_us=i) for i in range(3)]
    data = dump_keys(record for _, record in keys)
    assert load_keys(data) == tuple(record for _, record in keys)
    assert not any(key.split("_")[3].encode() in data for key, _ in keys)


@pytest.mark.parametrize(
    ("env", "principal", "scopes", "quota"),
    [
        ("Local", "ann", ["admin"], 10),
        ("local", "", ["admin"], 10),
        ("local", "a\nb", ["admin"], 10),
        ("local", "ann", [], 10),
        ("local", "ann", ["root"], 10),
        ("local", "ann", ["predict:a b"], 10),
        ("local", "ann", ["admin"], 0),
        ("local", "ann", ["admin"], 60_000_001),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    env: str, principal: str, scopes: list[str], quota: int
) -> None:
    with pytest.raises(InvalidKey):
        mint_key(env, principal, scopes, pepper=PEPPER, now_us=1, quota_rows=quota)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"keys": [{}]}', b'{"keys": 5}'])
def test_a_broken_snapshot_says_so(data: bytes) -> None:
    with pytest.raises(InvalidKey):
        load_keys(data)
