"""Leases in memory: the cost of renewing many, and the end of each at its time."""

from __future__ import annotations

from weft.coordinator.store.embedded.leases import Leases
from weft.coordinator.store.embedded.unfinished_task import NEVER
from weft.coordinator.store.records import Owner


def test_renewing_leases_costs_a_sweep_nothing() -> None:
    leases = Leases()
    owners = [Owner(f"a{n}", n) for n in range(1000)]
    for owner in owners:
        leases.open(owner, "instance", 3.0)
    looked_at = 0
    for tick in range(1, 400):
        now = tick * 0.05
        if tick % 5 == 0:
            for owner in owners:
                lease = leases.get(owner)
                assert lease is not None
                leases.end(lease, now + 3.0)
        before = len(leases._ends)
        assert leases.passed(now, 250) == []
        assert len(leases._ends) == before == len(owners)
        looked_at += sum(at <= now for at, _ in leases._ends)
        assert now < leases.next_at < NEVER
    # Each surfaces once a lease, not with each of forty sweeps a second.
    assert looked_at == 0
    passed = []
    while some := leases.passed(30.0, 250):
        assert len(some) <= 250
        for lease in some:
            leases.drop(lease, as_crashes=True)
        passed += [lease.owner for lease in some]
    assert sorted(passed) == sorted(owners)
    assert leases.next_at == NEVER
