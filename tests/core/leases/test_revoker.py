"""Rules 13-22: the one way to die, claimed and proved, and what each silence means.

======  =========================================================================================
rule    test
======  =========================================================================================
13      test_an_end_is_a_state, test_an_end_waits_for_nobody_to_renew
14      test_what_is_due
15      test_a_claim_is_one_statement, test_two_revokers_share_no_row,
        test_a_claim_tests_again_what_changed_meanwhile, test_a_claim_unheard_is_not_owned
16      test_issued_rows_of_one_target_share_a_call, test_each_member_has_its_own_verdict
17      test_never_activated_rows_go_alone, test_busy_is_no_failure
18      test_absent_is_not_enough_before_the_deadline
19      test_silence_proves_nothing
20      test_a_stale_epoch_changes_nothing, test_an_unheard_finish_is_harmless,
        test_serving.py: test_sync_waits_for_the_row, test_sync_tells_a_failure
21      test_a_dead_daemons_claim_ends; tests/crash
22      test_another_generation_matches_no_row
======  =========================================================================================
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from secretd.core.leases import model
from secretd.sdk.errors import StorageUnavailableError, TargetUnavailableError
from secretd.storage.leases import Leases
from support.ageing import age, let_claims_end
from support.nursery import Nursery, nursery


async def test_an_end_is_a_state(n: Nursery) -> None:
    """An accepted end moves pending and active to revoking in the statement that sets the time, once."""
    lease_id = await n.lease()
    assert await n.leases.end(lease_id, "revoked")
    row = await n.row()
    assert (row["state"], row["end_reason"]) == ("revoking", "revoked")
    assert row["expire_time"] <= row["now"]
    assert row["due_time"] <= row["now"]
    assert not await n.leases.end(lease_id, "another")
    assert (await n.row())["end_reason"] == "revoked"


async def test_an_end_is_not_undone(n: Nursery) -> None:
    """After an end neither activation, extension nor shortening finds the row."""
    lease_id = await n.lease()
    until = (await n.row())["max_expire_time"]
    await n.leases.end(lease_id, "revoked")
    assert await n.leases.activate(lease_id) is None
    assert await n.leases.extend(lease_id, 1000, until) is None
    assert await n.leases.shorten(lease_id, 10) is None


async def test_what_is_due(n: Nursery) -> None:
    """Due are: pending past its deadline, active past its expiry, revoking past its time; nothing else."""
    pending = await n.pending()
    active, ended = await n.lease(), await n.lease()
    assert await n.leases.claim_due(10, 60) == []
    await n.leases.end(ended, "revoked")
    assert [c.id for c in await n.leases.claim_due(10, 60)] == [ended]
    await age(n.sql, seconds=11)
    claims = await n.leases.claim_due(10, 60)
    assert [(c.id, c.was_issued) for c in claims] == [(pending, False)]
    await age(n.sql, seconds=600)
    claims = await n.leases.claim_due(10, 60)
    assert {c.id for c in claims} == {pending, active, ended}
    assert {c.id: c.epoch for c in claims} == {pending: 2, active: 1, ended: 2}
    assert {r["end_reason"] for r in await n.sql.fetch("SELECT end_reason FROM leases")} == {
        "not issued in time", "expired", "revoked",
    }  # fmt: skip


async def test_a_claim_is_one_statement(n: Nursery) -> None:
    """One statement sets state, epoch and the claim's end, and brings what the end of the account needs."""
    lease_id = await n.lease()
    await age(n.sql, seconds=601)
    (claim,) = await n.leases.claim_due(10, 60)
    row = await n.row()
    assert (row["state"], row["claim_epoch"]) == ("revoking", 1)
    assert timedelta(seconds=50) < row["due_time"] - row["now"] <= timedelta(seconds=60)
    assert (claim.id, claim.account_name, claim.fence_key) == (lease_id, "v-1", row["fence_key"])
    assert await n.leases.activate(lease_id) is None  # the state says so, not the time
    assert await n.leases.extend(lease_id, 1000, row["max_expire_time"]) is None


async def test_two_revokers_share_no_row(n: Nursery) -> None:
    """A claim held open by one transaction is passed over by another, which waits for nothing."""
    for _ in range(5):
        await n.leases.end(await n.lease(), "revoked")
    async with n.pool.transaction() as other:
        first = await other.fetch("claim_due_leases", 1, 3, 60.0)
        second = await n.leases.claim_due(10, 60)
    assert (len(first), len(second)) == (3, 2)
    assert {row["id"] for row in first}.isdisjoint({claim.id for claim in second})


async def test_a_claim_tests_again_what_changed_meanwhile(n: Nursery) -> None:
    """A lease that was renewed between listing and locking is not claimed."""
    await n.lease()
    await age(n.sql, seconds=601)
    async with n.pool.transaction() as renewing:
        # Whatever moved it: the claim must look at the newest row, not at what its snapshot saw.
        await n.sql.execute("SET lock_timeout = '5s'")
        await renewing._link.connection.execute(
            "UPDATE leases SET expire_time = clock_timestamp() + interval '9 minutes', "
            "due_time = clock_timestamp() + interval '9 minutes'"
        )
        assert await n.leases.claim_due(10, 60) == []
    assert await n.leases.claim_due(10, 60) == []
    assert (await n.row())["state"] == "active"


async def test_a_claim_unheard_is_not_owned(n: Nursery) -> None:
    """A claim without acknowledgement is worked on by nobody, and ends by itself."""
    await n.leases.end(await n.lease(), "revoked")
    n.leases.silence("claim_due", "mute")
    with pytest.raises(StorageUnavailableError):
        await n.turn()
    assert n.ward.batches == []
    await n.turn()
    assert n.ward.batches == []
    await age(n.sql, seconds=61)
    await n.turn()
    assert (n.ward.accounts, (await n.row())["state"]) == ({}, "revoked")


async def test_issued_rows_of_one_target_share_a_call(n: Nursery) -> None:
    """What shares a target goes in one batch; another target has a batch of its own."""
    n.ward.targets = {"v-3": "two"}
    for _ in range(4):
        await n.leases.end(await n.lease(), "revoked")
    await n.turn()
    assert sorted(map(sorted, n.ward.batches)) == [["v-1", "v-2", "v-4"], ["v-3"]]


async def test_each_member_has_its_own_verdict(n: Nursery) -> None:
    """One bad member does not keep the good ones, nor do they hide it; a member without a verdict is not dead."""
    for _ in range(5):
        await n.leases.end(await n.lease(), "revoked")
    n.ward.verdicts = {"v-2": "error", "v-3": "present", "v-4": "missing"}
    await n.turn()
    assert await n.states() == {
        "v-1": "revoked", "v-2": "revoking", "v-3": "revoking", "v-4": "revoking", "v-5": "revoked",
    }  # fmt: skip
    rows = await n.sql.fetch(
        "SELECT account_name, last_error, attempts FROM leases JOIN lease_facts USING (id)"
    )
    assert {tuple(row) for row in rows if row[2]} == {
        ("v-2", "target_down", 1), ("v-3", "present", 1), ("v-4", "no_verdict", 1),
    }  # fmt: skip
    n.ward.verdicts = {}
    await let_claims_end(n.sql)
    await n.turn()
    assert set((await n.states()).values()) == {"revoked"}


async def test_a_finished_row_keeps_a_receipt(n: Nursery) -> None:
    """A proved end leaves its time and what proved it."""
    await n.leases.end(await n.lease(), "revoked")
    await n.turn()
    row = await n.row()
    assert row["revoked_time"] is not None
    assert msgspec.msgpack.decode(row["receipt"]) == {"proof": "absent after issue", "sessions_ended": 1}


async def test_never_activated_rows_go_alone(n: Nursery) -> None:
    """A row without an issued time shares a call with nobody."""
    await n.pending()
    await n.leases.end(await n.lease(), "revoked")
    await age(n.sql, seconds=11)
    await n.turn()
    assert sorted(n.ward.batches) == [["v-1"], ["v-2"]]
    assert await n.states() == {"v-1": "revoked", "v-2": "revoked"}


async def test_absent_is_not_enough_before_the_deadline(n: Nursery) -> None:
    """An account never seen and not past its deadline may still come: the row waits, and counts no failure."""
    lease_id = await n.pending()
    await n.leases.end(lease_id, "token revoked")
    n.ward.accounts.clear()
    await n.turn()
    row = await n.row()
    assert (row["state"], row["attempts"], row["last_error"]) == ("revoking", 0, None)
    assert timedelta(0) < row["due_time"] - row["now"] <= timedelta(seconds=model.BUSY_DELAY)
    n.ward.accounts["v-1"] = row["now"]  # the CREATE that was late
    await age(n.sql, seconds=11)
    await n.turn()
    assert (n.ward.accounts, (await n.row())["state"]) == ({}, "revoked")


async def test_busy_is_no_failure(n: Nursery) -> None:
    """Somebody holds the fence: looked at again soon, without an attempt."""
    await n.pending()
    await age(n.sql, seconds=11)
    n.ward.verdicts = {"v-1": "busy"}
    await n.turn()
    row = await n.row()
    assert (row["state"], row["attempts"]) == ("revoking", 0)
    assert row["due_time"] - row["now"] <= timedelta(seconds=model.BUSY_DELAY)


async def test_silence_proves_nothing(n: Nursery) -> None:
    """A target that does not answer, or a plugin that breaks, leaves the row revoking with one attempt more."""
    await n.leases.end(await n.lease(), "revoked")
    for number, trouble in enumerate((TargetUnavailableError(), TimeoutError(), RuntimeError("a bug")), 1):

        async def fail(error: Exception = trouble) -> None:
            raise error

        n.ward.before_revoke = fail
        await let_claims_end(n.sql)
        await n.turn()
        row = await n.row()
        assert (row["state"], row["attempts"]) == ("revoking", number)
    assert row["first_failed_time"] < row["now"]
    assert "bug" not in row["last_error"]


async def test_a_stale_epoch_changes_nothing(n: Nursery) -> None:
    """A revoker that was paused past its claim can neither finish nor fail the row of its successor."""
    await n.leases.end(await n.lease(), "revoked")
    (stale,) = await n.leases.claim_due(10, 60)
    await age(n.sql, seconds=61)
    (owner,) = await n.leases.claim_due(10, 60)
    before = await n.row()
    assert await n.leases.finish([(stale, b"")]) == set()
    assert await n.leases.fail([(stale, "target_down", 900.0)]) == set()
    after = await n.row()
    for column in ("state", "attempts", "due_time", "receipt", "last_error"):
        assert after[column] == before[column]
    assert await n.leases.finish([(owner, b"")]) == {owner.id}
    assert await n.leases.fail([(owner, "target_down", 1.0)]) == set()
    assert (await n.row())["state"] == "revoked"


@pytest.mark.parametrize("silence", ["lost", "mute"])
async def test_an_unheard_finish_is_harmless(n: Nursery, silence: str) -> None:
    """The account is gone and storage says nothing: the row is finished now or by revoking twice."""
    await n.leases.end(await n.lease(), "revoked")
    n.leases.silence("finish", silence)
    n.leases.silence("fail", silence)
    await n.turn()
    await age(n.sql, seconds=61)
    await n.turn()
    assert (await n.row())["state"] == "revoked"


async def test_a_dead_daemons_claim_ends(n: Nursery) -> None:
    """What a daemon claimed and left is due again when the claim is over; another one finishes it."""
    await n.leases.end(await n.lease(), "revoked")
    await n.leases.claim_due(10, 60)
    async with nursery(n.dsn, is_first=False) as other:
        await other.turn()
        assert (await n.row())["state"] == "revoking"
        await age(n.sql, seconds=61)
        await other.turn()
    assert (await n.row())["state"] == "revoked"


async def test_another_generation_matches_no_row(n: Nursery) -> None:
    """A process from before a recovery inserts nothing that counts and changes nothing that is."""
    lease_id = await n.lease()
    until = (await n.row())["max_expire_time"]
    old = Leases(n.pool, 0)
    assert not await old.end(lease_id, "revoked")
    assert await old.extend(lease_id, 100, until) is None
    assert await old.shorten(lease_id, 1) is None
    assert await old.end_prefix("db/", "revoked") == {}
    await age(n.sql, seconds=601)
    assert await old.claim_due(10, 60) == []


async def test_the_back_off_grows_and_never_ends(n: Nursery) -> None:
    """Two seconds, doubled with jitter, at most a quarter of an hour, however often it failed."""
    for attempts in (*range(12), 100, 10**6):
        middle = min(2.0 * 2 ** min(attempts, 20), 900.0)
        waits = [model.back_off(attempts) for _ in range(200)]
        assert all(middle * 0.75 <= wait <= middle * 1.25 for wait in waits)
        assert len(set(waits)) > 100


async def test_a_lease_is_never_given_up(n: Nursery) -> None:
    """After any number of failures the row is still tried, is listed for hands, and ends with the first success."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    n.ward.verdicts = {"v-1": "error"}
    for _ in range(model.IRREVOCABLE):
        assert await n.leases.list_irrevocable(10) == []
        await let_claims_end(n.sql)
        await n.turn()
    assert [row["id"] for row in await n.leases.list_irrevocable(10)] == [lease_id]
    n.ward.verdicts = {}
    await let_claims_end(n.sql)
    await n.turn()
    assert (await n.row())["state"] == "revoked"
    assert await n.leases.list_irrevocable(10) == []


@pytest.mark.parametrize("poison", ["garbled", "another lease's", "undecodable"])
async def test_a_row_that_nobody_can_read_is_alone(n: Nursery, poison: str) -> None:
    """A damaged recipe fails its own lease, time and again and visibly; the others of the same claim are ended."""
    ids = [await n.lease() for _ in range(3)]
    recipes = [row[0] for row in await n.sql.fetch("SELECT recipe FROM lease_facts ORDER BY account_name")]
    bad = {
        "garbled": recipes[1][:-1] + b"x",
        "another lease's": recipes[0],
        "undecodable": n.barrier.encrypt_recipe(ids[1], b"\xff no recipe"),
    }[poison]
    await n.sql.execute("UPDATE lease_facts SET recipe = $1 WHERE account_name = 'v-2'", bad)
    for lease_id in ids:
        await n.leases.end(lease_id, "revoked")
    await n.turn()
    assert await n.states() == {"v-1": "revoked", "v-2": "revoking", "v-3": "revoked"}
    assert (await n.row(ids[1]))["attempts"] == 1


async def test_a_tombstone_is_never_worked_on(n: Nursery) -> None:
    """An operator's force leaves the row with its account's name; no revoker, finish or end finds it again."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    (claim,) = await n.leases.claim_due(10, 60)
    assert await n.leases.abandon_prefix("db/", "forced") == [lease_id]
    assert await n.leases.finish([(claim, b"")]) == set()
    assert not await n.leases.end(lease_id, "again")
    await age(n.sql, seconds=86400)
    assert await n.leases.claim_due(10, 60) == []
    row = await n.row()
    assert (row["state"], row["account_name"], row["end_reason"]) == ("abandoned", "v-1", "forced")


def test_only_past_the_deadline_is_a_proof_for_the_never_activated() -> None:
    """The table of verdicts: absent, and either activated once or past the deadline by the target's clock."""
    from secretd.sdk.secret_type import End

    absent = End("x", "absent")
    assert model.is_proved(absent, was_issued=True)
    assert not model.is_proved(absent, was_issued=False)
    assert model.is_proved(replace(absent, past=True), was_issued=False)
    for outcome in ("busy", "present", "error"):
        assert not model.is_proved(End("x", outcome, past=True), was_issued=True)


async def test_a_synchronous_end_waits_for_those_under_way(n: Nursery) -> None:
    """What somebody ended before, without waiting, is among what a synchronous revoke by prefix waits for (S6)."""
    first, second = await n.lease(), await n.lease()
    await n.leases.end(first, "revoked")
    await n.leases.claim_due(10, 60)  # by a daemon that does not come back

    waited_for = await n.leases.end_prefix("db/", "revoked")

    assert set(waited_for) == {first, second}


async def test_an_earlier_failure_does_not_end_the_wait(n: Nursery) -> None:
    """A failure from before is no news: a synchronous revoke waits for the attempt that it asked for."""
    lease_id = await n.lease()
    await n.leases.end(lease_id, "revoked")
    (claim,) = await n.leases.claim_due(10, 60)
    await n.leases.fail([(claim, "target_down", 900.0)])
    waiting = asyncio.create_task(n.revoker.wait_until_over(await n.leases.end_prefix("db/", "revoked")))

    await n.turn()

    await asyncio.wait_for(waiting, 30)
    assert (await n.row())["state"] == "revoked"
