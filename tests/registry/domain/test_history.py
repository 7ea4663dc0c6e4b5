"""Which version served when: every reign ends where the next begins."""

from itertools import pairwise
from pathlib import Path

from kit.clock import FakeClock
from registry.domain.audit import Act, chain
from registry.domain.history import reigns
from tests.registry.scenes import ANN, Desk


async def test_a_promotion_and_its_rollback_are_three_reigns(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    async with Desk(tmp_path, fake_clock) as desk:
        first = Act(
            actor="ann",
            action="version.transition",
            model="delay",
            reason="the first",
            after={"version": "1", "state": "production"},
        )
        await desk.ledger.write(lambda tx: tx.record(first))
        await desk.start()
        for _ in range(6):
            await desk.look(hours=2)
        await desk.roll_back.model("delay", "customers complain", ANN)
        found = reigns(await desk.ledger.read(lambda tx: tx.entries()))
    assert [one.version for one in found] == ["1", "2", "1"]
    assert [one.by for one in found] == ["ann", "controller", "ann"]
    assert found[0].ended_why.startswith("Promoted to production")
    assert found[1].ended_why == "customers complain"
    assert all(a.until_us == b.from_us for a, b in pairwise(found))
    assert found[-1].until_us is None


def test_a_canary_that_was_taken_back_never_reigned() -> None:
    act = Act(
        actor="controller",
        action="rollout.roll_back",
        after={"candidate": "2", "status": "rolled_back"},
    )
    assert reigns([chain(act, 1, 0, 0, "0" * 64)]) == []
