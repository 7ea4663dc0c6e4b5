"""The chain: every change, removal, insertion and reordering shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.audit import GENESIS, Act, BrokenChain, Entry, chain, check_chain

reasons = st.lists(st.text(max_size=20), min_size=2, max_size=8)


def log(texts: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    for at, text in enumerate(texts):
        previous = entries[-1].digest if entries else GENESIS
        act = Act(actor="ann", action="version.transition", reason=text, after={"n": at, "x": 0.1})
        entries.append(chain(act, at + 1, 1000 + at, 2000 + at, previous))
    return entries


@given(reasons)
def test_a_log_that_was_only_appended_to_is_intact_after_any_trip_through_json(
    texts: list[str],
) -> None:
    entries = [Entry.model_validate_json(entry.model_dump_json()) for entry in log(texts)]
    assert check_chain(entries, (len(texts), entries[-1].digest)) == len(texts)


@given(reasons, st.data())
def test_every_tampering_shows_where_it_happened(texts: list[str], data: st.DataObject) -> None:
    entries = log(texts)
    at = data.draw(st.integers(0, len(entries) - 1))
    head = (len(entries), entries[-1].digest)
    changed = [*entries]
    changed[at] = entries[at].model_copy(update={"actor": "eve"})
    removed = entries[:at] + entries[at + 1 :]
    doubled = [*entries[: at + 1], *entries[at:]]
    for tampered in (changed, removed, doubled):
        with pytest.raises(BrokenChain) as broken:
            check_chain(tampered, head)
        assert abs(broken.value.seq - at - 1) <= 1


@given(reasons, st.data())
def test_reordering_shows(texts: list[str], data: st.DataObject) -> None:
    entries = log(texts)
    order = data.draw(st.permutations(range(len(entries))))
    reordered = [entries[at] for at in order]
    if list(order) != list(range(len(entries))):
        with pytest.raises(BrokenChain):
            check_chain(reordered)


def test_a_rewritten_tail_shows_against_a_head_that_was_kept_elsewhere() -> None:
    honest, forged = log(["a", "b", "c"]), log(["a", "b", "d"])
    check_chain(forged)
    with pytest.raises(BrokenChain):
        check_chain(forged, (3, honest[-1].digest))
