"""The revoker at work: who waits for an end is told by the row; storage errors and bugs delay, they do not stop it."""

from __future__ import annotations

import asyncio

import pytest

from secretd.core.leases import revoker
from secretd.sdk.errors import UnavailableError
from support.ageing import age, let_claims_end
from support.blocking import until_true
from support.nursery import Nursery, nursery


async def test_sync_waits_for_the_row(n: Nursery) -> None:
    """A synchronous revoke returns when the row is over, not when the target has answered."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    n.leases.silence("finish", "lost")
    n.leases.silence("fail", "lost")
    waiting = asyncio.create_task(n.revoker.wait_until_over({lease_id: 0}))
    await n.turn()
    assert n.ward.accounts == {}
    assert not waiting.done()
    await age(n.sql, seconds=61)
    await n.turn()
    await waiting
    assert (await n.row())["state"] == "revoked"


async def test_sync_sees_what_another_daemon_finished(n: Nursery) -> None:
    """The waiting daemon reads the row, whoever moved it."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    waiting = asyncio.create_task(n.revoker.wait_until_over({lease_id: 0}))
    async with nursery(n.dsn, is_first=False) as other:
        await other.turn()
    await asyncio.wait_for(waiting, 20)


async def test_sync_tells_a_failure(n: Nursery) -> None:
    """A target that cannot end it makes the synchronous caller's answer an error; trying goes on."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    n.ward.verdicts = {"v-1": "error"}
    waiting = asyncio.create_task(n.revoker.wait_until_over({lease_id: 0}))
    await n.turn()
    with pytest.raises(UnavailableError):
        await waiting
    assert (await n.row())["state"] == "revoking"


async def test_serve_survives_storage_and_bugs(n: Nursery) -> None:
    """A storage that fails and an engine that breaks delay the revoker; they do not stop it."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    n.leases.silence("claim_due", "lost", "ok")
    tries = []

    async def break_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError

    n.ward.before_revoke = break_once
    serving = asyncio.create_task(n.revoker.serve())
    n.revoker.wake()
    while "claim_due" not in n.leases.asked:
        await asyncio.sleep(0)
    n.revoker.wake()
    await until_true(n.sql, "SELECT bool_or(attempts = 1) FROM leases")
    await let_claims_end(n.sql)
    n.revoker.wake()
    await until_true(n.sql, "SELECT bool_and(state = 'revoked') FROM leases")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_never_activated_rows_do_not_crowd_a_target(n: Nursery) -> None:
    """Many rows that go alone are worked on by as many workers as there are, and all of them end."""
    for _ in range(30):
        await n.pending()
    await age(n.sql, seconds=11)
    at_once, most = 0, 0

    async def count() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await n.ward.now()
        at_once -= 1

    n.ward.before_revoke = count
    await n.turn()
    assert set((await n.states()).values()) == {"revoked"}
    assert most == 4


async def test_what_waited_too_long_for_a_worker_is_left(n: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row whose claim is not fresh any more is not begun: its claim ends, and it is due again."""
    monkeypatch.setattr(revoker, "CLAIM", 2.0)
    for _ in range(6):
        await n.pending()
    await age(n.sql, seconds=11)
    n.ward.before_revoke = lambda: asyncio.sleep(1.1)
    await n.turn()
    counted = list((await n.states()).values())
    assert (counted.count("revoked"), counted.count("revoking")) == (4, 2)
    await let_claims_end(n.sql)
    await n.turn()
    assert set((await n.states()).values()) == {"revoked"}
