"""Rules 10-12: the target first, then one compare-and-set, never back and never past a limit.

=====  ==========================================================================================
rule   test
=====  ==========================================================================================
10     test_the_target_is_asked_before_the_row_moves, test_a_silent_target_leaves_the_row_untouched
11     test_never_past_the_maximum, test_never_past_what_the_target_secured, test_never_back,
       test_an_older_renewal_does_not_cut_a_newer, test_a_renewal_that_waited_for_an_end_fails,
       test_an_expired_lease_cannot_be_renewed, test_a_lost_extension_is_an_error
12     test_a_smaller_increment_shortens
=====  ==========================================================================================
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from secretd.sdk.errors import InvalidRequestError, StorageUnavailableError, TargetUnavailableError
from support.ageing import age
from support.blocking import until_blocked, until_true
from support.nursery import Nursery


async def test_the_target_is_asked_before_the_row_moves(n: Nursery) -> None:
    """While the target moves VALID UNTIL the row still has its old expiry."""
    lease_id = await n.lease()
    await age(n.sql, seconds=300)
    before = (await n.row())["expire_time"]
    seen = []

    async def look() -> None:
        seen.append((await n.row())["expire_time"])

    n.ward.before_renew = look
    grant = (await n.renewer.renew(lease_id, 0)).lease
    assert grant is not None
    assert seen == [before]
    assert grant.duration in {599, 600}
    row = await n.row()
    assert row["expire_time"] > before
    assert timedelta(0) <= row["due_time"] - row["expire_time"] < timedelta(milliseconds=1)


async def test_a_silent_target_leaves_the_row_untouched(n: Nursery) -> None:
    """Silence or refusal of the target is the client's error, and the promise stays what it was."""
    lease_id = await n.lease()
    await age(n.sql, seconds=300)
    before = await n.row()

    async def silent() -> None:
        raise TargetUnavailableError

    n.ward.before_renew = silent
    with pytest.raises(TargetUnavailableError):
        await n.renewer.renew(lease_id, 0)
    after = await n.row()
    assert (after["expire_time"], after["renewed_time"]) == (before["expire_time"], None)


@pytest.mark.parametrize("increment", [0, 600, 3601, 10**9])
async def test_never_past_the_maximum(n: Nursery, increment: int) -> None:
    """However much is asked for, the lease ends at the maximum it was born with, and the answer says so."""
    lease_id = await n.lease()
    for _ in range(3):
        await age(n.sql, seconds=500)
        await n.renewer.renew(lease_id, 600)
    await age(n.sql, seconds=500)
    await n.renewer.renew(lease_id, 1000)
    await age(n.sql, seconds=900)  # 2,900 of 3,600 are over
    response = await n.renewer.renew(lease_id, increment)
    row = await n.row()
    assert row["expire_time"] <= row["max_expire_time"]
    assert response.lease is not None
    assert response.lease.duration <= 700
    assert bool(response.warnings) is (increment > 700)


@pytest.mark.parametrize("increment", [-1, -(10**6)])
async def test_an_increment_below_nothing_is_the_leases_own(n: Nursery, increment: int) -> None:
    """A negative increment ends nothing and prolongs nothing beyond the lease's own TTL."""
    lease_id = await n.lease()
    await age(n.sql, seconds=300)
    response = await n.renewer.renew(lease_id, increment)
    assert response.lease is not None
    assert response.lease.duration in {599, 600}


async def test_never_past_what_the_target_secured(n: Nursery) -> None:
    """A target that let the account live for less is believed."""
    lease_id = await n.lease()
    await age(n.sql, seconds=300)
    n.ward.secured = (await n.row())["expire_time"] + timedelta(seconds=7)
    await n.renewer.renew(lease_id, 0)
    assert (await n.row())["expire_time"] == n.ward.secured


async def test_never_back(n: Nursery) -> None:
    """A target that secured less than the lease has already does not cut it."""
    lease_id = await n.lease()
    before = (await n.row())["expire_time"]
    n.ward.secured = before - timedelta(seconds=100)
    await n.renewer.renew(lease_id, 1200)
    assert (await n.row())["expire_time"] == before


async def test_an_older_renewal_does_not_cut_a_newer(n: Nursery) -> None:
    """Two renewals meet on the row: the one that comes last with the earlier time changes nothing."""
    lease_id = await n.lease()
    read = await n.leases.find_to_renew(lease_id, 700)
    assert read is not None
    assert await n.leases.extend(lease_id, 1500, read["until"] + timedelta(seconds=900))
    promised = (await n.row())["expire_time"]
    assert await n.leases.extend(lease_id, 700, read["until"])
    assert (await n.row())["expire_time"] == promised


async def test_a_renewal_that_waited_for_an_end_fails(n: Nursery) -> None:
    """An end holds the row; a renewal whose statement began before waits, and then finds the lease over."""
    lease_id = await n.lease()
    until = (await n.row())["max_expire_time"]
    async with n.pool.transaction() as ending:
        await ending.execute("end_lease", lease_id, n.leases.generation, "revoked")
        renewal = asyncio.create_task(n.leases.extend(lease_id, 1000, until))
        await until_blocked(n.sql)
    assert await renewal is None
    assert (await n.row())["state"] == "revoking"


async def test_a_renewal_that_waited_past_the_expiry_fails(n: Nursery) -> None:
    """The clock is read when the row is locked: a renewal that began in time and waited is too late."""
    lease_id = await n.lease()
    until = (await n.row())["max_expire_time"]
    await n.leases.shorten(lease_id, 1)
    async with n.pool.transaction() as holder:
        # A write, not a bare lock: Postgres asks the condition again only of a row that has changed. After one
        # that was rolled back the renewal counts from before its wait: nobody has claimed the lease meanwhile.
        await holder._link.connection.execute("UPDATE leases SET renewed_time = clock_timestamp()")
        renewal = asyncio.create_task(n.leases.extend(lease_id, 1000, until))
        await until_blocked(n.sql)
        await until_true(n.sql, "SELECT bool_and(expire_time < clock_timestamp()) FROM leases")
    assert await renewal is None


async def test_a_transaction_that_is_older_than_the_end_cannot_renew(n: Nursery) -> None:
    """now() of an old transaction would say "not expired"; clock_timestamp() does not."""
    lease_id = await n.lease()
    async with n.pool.transaction() as old:
        await old.fetchrow("get_clock")
        await n.sql.execute("UPDATE leases SET expire_time = clock_timestamp()")
        row = await old.fetchrow("extend_lease", lease_id, 1, 1000, (await n.row())["max_expire_time"])
    assert row is None


async def test_an_expired_lease_cannot_be_renewed(n: Nursery) -> None:
    """Expired is over, claimed or not, and the target is not asked."""
    lease_id = await n.lease()
    await age(n.sql, seconds=601)

    async def never() -> None:
        pytest.fail("the target was asked")

    n.ward.before_renew = never
    with pytest.raises(InvalidRequestError):
        await n.renewer.renew(lease_id, 0)


async def test_a_renewal_that_expires_under_way_fails(n: Nursery) -> None:
    """The lease expires while the target is asked: the client is not told that it was renewed."""
    lease_id = await n.lease()
    n.ward.before_renew = lambda: age(n.sql, seconds=601)
    with pytest.raises(InvalidRequestError):
        await n.renewer.renew(lease_id, 1200)


@pytest.mark.parametrize("silence", ["lost", "mute"])
async def test_a_lost_extension_is_an_error(n: Nursery, silence: str) -> None:
    """Storage does not acknowledge: 503, and never an answer with a duration."""
    lease_id = await n.lease()
    n.leases.silence("extend", silence)
    with pytest.raises(StorageUnavailableError):
        await n.renewer.renew(lease_id, 1200)


async def test_a_smaller_increment_shortens(n: Nursery) -> None:
    """Less than what remains moves the expiry back, and the target is not touched."""
    lease_id = await n.lease()

    async def never() -> None:
        pytest.fail("the target was asked")

    n.ward.before_renew = never
    grant = (await n.renewer.renew(lease_id, 30)).lease
    assert grant is not None
    assert grant.duration in {29, 30}
    row = await n.row()
    assert timedelta(0) <= row["due_time"] - row["expire_time"] < timedelta(milliseconds=1)
    assert row["expire_time"] - row["now"] <= timedelta(seconds=30)


async def test_a_lease_does_not_outlive_its_token_by_renewal(n: Nursery) -> None:
    """The holder's token bounds a renewal, with a warning that names it."""
    child = await n.child(n.token, "holder", ttl=700)
    assert child is not None
    grant = (await n.issue(child)).lease
    assert grant is not None
    response = await n.renewer.renew(grant.id, 3000)
    row = await n.row()
    assert row["expire_time"] <= await n.sql.fetchval(
        "SELECT expire_time FROM tokens WHERE accessor = 'holder'"
    )
    assert any("token" in warning for warning in response.warnings)
