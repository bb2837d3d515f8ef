"""Rules 1-9: a birth, its failures, and the silences of storage and target.

=====  ===========================================================================================
rule   test
=====  ===========================================================================================
1      test_a_row_freezes_what_its_end_will_need, test_names_ids_and_fences_are_never_repeated
2      test_the_row_is_committed_before_the_account
3      test_an_insert_without_acknowledgement_makes_no_account
4, 5   plugins/secretd-postgresql (lock, clock, one CREATE); test_create_is_sent_once
6      test_a_failed_create_ends_the_row_and_sends_no_drop
7      test_activation_sets_the_expiry_there_and_then, test_activation_only_in_time,
       test_activation_only_from_pending
8      test_a_silent_activation_is_asked_again, test_an_activation_that_ran_unheard_is_read,
       test_a_lost_activation_is_never_assumed
9      test_a_client_that_went_gets_its_lease_ended, test_an_undelivered_answer_ends_the_lease,
       test_giving_up_goes_on_until_storage_acknowledges
=====  ===========================================================================================
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from secretd.core.leases import issuer as issuing
from secretd.core.leases import model
from secretd.sdk.errors import (
    InvalidRequestError,
    StorageUnavailableError,
    TargetError,
    TargetUnavailableError,
)
from support.ageing import age
from support.blocking import until_true
from support.nursery import Nursery

_ENDING = "SELECT bool_and(state = 'revoking') FROM leases"


async def test_a_row_freezes_what_its_end_will_need(n: Nursery) -> None:
    """Name, target, kind and recipe are in the row; the recipe is readable behind the barrier only."""
    lease_id = await n.lease()
    row = await n.row(lease_id)
    assert (row["account_name"], row["state"]) == ("v-1", "active")
    facts = await n.sql.fetchrow("SELECT * FROM lease_facts")
    assert (facts["mount_id"], facts["secret_type"], facts["token_accessor"]) == (n.mount.id, "creds", "root")
    assert b"one" not in facts["recipe"]
    assert b"one" in await n.barrier.decrypt_recipe(lease_id, facts["recipe"])


def test_names_ids_and_fences_are_never_repeated() -> None:
    """Lease ids and fence keys are random: a thousand of each are a thousand, and fit their columns."""
    assert len({model.new_lease_id("db/creds/app") for _ in range(1000)}) == 1000
    keys = {model.new_fence_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(-(2**63) <= key < 2**63 for key in keys)


async def test_the_row_is_committed_before_the_account(n: Nursery) -> None:
    """While CREATE is under way another session sees the row, pending, with both deadlines."""
    seen = []

    async def look() -> None:
        seen.append(await n.row())

    n.ward.before_create = look
    await n.lease()
    row = seen[0]
    assert (row["state"], row["issued_time"], row["expire_time"]) == ("pending", None, None)
    assert row["issue_deadline"] == row["target_deadline"] == row["due_time"]
    assert timedelta(seconds=5) < row["issue_deadline"] - row["now"] <= timedelta(seconds=10)


@pytest.mark.parametrize("silence", ["lost", "mute"])
async def test_an_insert_without_acknowledgement_makes_no_account(n: Nursery, silence: str) -> None:
    """Storage says nothing to the insert: 503 and no CREATE; a row that is there all the same is ended in time."""
    n.leases.silence("insert_pending", silence)
    with pytest.raises(StorageUnavailableError):
        await n.issue()
    assert n.ward.accounts == {}
    await age(n.sql, seconds=11)
    await n.turn()
    assert set((await n.states()).values()) <= {"revoked"}


async def test_create_is_sent_once(n: Nursery) -> None:
    """A silent target is not asked a second time, and its client is told that it failed."""
    tries = []

    async def silent() -> None:
        tries.append(1)
        raise TargetUnavailableError

    n.ward.after_create = silent
    with pytest.raises(TargetUnavailableError):
        await n.issue()
    assert tries == [1]


async def test_a_failed_create_ends_the_row_and_sends_no_drop(n: Nursery) -> None:
    """The issuer moves the row to revoking and wakes the revoker; it removes nothing itself."""

    async def refuse() -> None:
        raise TargetError

    n.ward.after_create = refuse
    with pytest.raises(TargetError):
        await n.issue()
    row = await n.row()
    assert (row["state"], row["issued_time"], row["end_reason"]) == ("revoking", None, "issue failed")
    assert row["due_time"] <= row["now"]
    assert (list(n.ward.accounts), n.ward.batches, n.wakes) == (["v-1"], [], [1])


async def test_a_create_that_never_returns_is_given_up(n: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that hangs costs the issue window and no more; the row is ended."""
    monkeypatch.setattr(issuing, "ISSUE_WINDOW", 0.05)

    async def hang() -> None:
        await asyncio.Event().wait()

    n.ward.before_create = hang
    with pytest.raises(TargetUnavailableError):
        await n.issue()
    assert (await n.row())["state"] == "revoking"


async def test_activation_sets_the_expiry_there_and_then(n: Nursery) -> None:
    """Expiry and maximum count from activation, and the answer's duration is what that statement returned."""
    grant = (await n.issue()).lease
    assert grant is not None
    row = await n.row()
    assert row["expire_time"] - row["issued_time"] == timedelta(seconds=600)
    assert row["max_expire_time"] - row["issued_time"] == timedelta(seconds=3600)
    assert row["due_time"] == row["expire_time"]
    assert grant.duration == 600


async def test_activation_only_in_time(n: Nursery) -> None:
    """An issuer that stopped after CREATE and resumes past the deadline gets no active lease."""
    n.ward.after_create = lambda: age(n.sql, seconds=11)
    with pytest.raises(TargetUnavailableError):
        await n.issue()
    assert (await n.row())["state"] == "revoking"


async def test_activation_only_from_pending(n: Nursery) -> None:
    """An end accepted while CREATE was under way is not undone by activation."""

    async def end() -> None:
        assert await n.leases.end((await n.row())["id"], "token revoked")

    n.ward.after_create = end
    with pytest.raises(TargetUnavailableError):
        await n.issue()
    row = await n.row()
    assert (row["state"], row["issued_time"], row["end_reason"]) == ("revoking", None, "token revoked")


@pytest.mark.parametrize("plan", [("lost",), ("mute",), ("lost", "mute"), ("mute", "lost", "lost")])
async def test_a_silent_activation_is_asked_again(n: Nursery, plan: tuple[str, ...]) -> None:
    """Whether it ran or not, the question is repeated until there is an answer; the client gets its lease."""
    n.leases.silence("activate", *plan)
    assert (await n.issue()).lease is not None
    assert (await n.row())["state"] == "active"
    assert n.leases.asked.count("activate") == len(plan) + 1


async def test_an_activation_that_ran_unheard_is_read(n: Nursery) -> None:
    """The second question finds the row active: it is ours, and the duration is the row's."""
    n.leases.silence("activate", "mute")
    n.leases.silence("find_state", "lost")
    grant = (await n.issue()).lease
    assert grant is not None
    assert grant.duration in {599, 600}


async def test_a_lost_activation_is_never_assumed(n: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage stays silent after it activated: the client hears an error, and the lease is ended."""
    monkeypatch.setattr(issuing, "_ASK_AGAIN", (0.0,) * 3)
    n.leases.silence("activate", *("mute",) * 3)
    with pytest.raises(StorageUnavailableError):
        await n.issue()
    row = await n.row()
    assert (row["state"], row["end_reason"]) == ("revoking", "issue failed")
    assert row["issued_time"] is not None


async def test_a_client_that_went_gets_its_lease_ended(n: Nursery) -> None:
    """A cancelled request does not cancel a half-issued credential: it is finished, then ended as undelivered."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    n.ward.before_create = wait
    request = asyncio.create_task(n.issue())
    await begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (await n.row())["state"] == "pending"
    go_on.set()
    await until_true(n.sql, _ENDING)
    row = await n.row()
    assert (row["end_reason"], list(n.ward.accounts)) == ("undelivered", ["v-1"])


async def test_an_undelivered_answer_ends_the_lease(n: Nursery) -> None:
    """An answer that could not be written ends what it gave out, even if the caller is cancelled meanwhile."""
    lease_id = await n.lease()
    n.leases.silence("end", "lost")
    telling = asyncio.create_task(n.issuer.undelivered(lease_id))
    await asyncio.sleep(0)
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    await until_true(n.sql, _ENDING)
    assert (await n.row())["end_reason"] == "undelivered"


@pytest.mark.parametrize("silence", ["lost", "mute"])
async def test_giving_up_goes_on_until_storage_acknowledges(n: Nursery, silence: str) -> None:
    """Storage fails while a failed birth is ended: the end is asked again until it answers."""

    async def refuse() -> None:
        raise TargetError

    n.ward.after_create = refuse
    n.leases.silence("end", silence, silence, silence)
    with pytest.raises(TargetError):
        await n.issue()
    assert n.leases.asked.count("end") == 4
    assert (await n.row())["state"] == "revoking"


async def test_a_storage_that_stays_away_does_not_hold_the_client(
    n: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client hears its error after some patience; the end goes on behind it."""
    monkeypatch.setattr(issuing, "_END_PATIENCE", 0.01)

    async def refuse() -> None:
        raise TargetError

    n.ward.after_create = refuse
    n.leases.silence("end", "lost", "lost")
    with pytest.raises(TargetError):
        await n.issue()
    await until_true(n.sql, _ENDING)


async def test_a_lease_needs_some_time(n: Nursery) -> None:
    """A token in its last second leases nothing, and nothing is written."""
    child = await n.child(n.token, "brief", ttl=1)
    assert child is not None
    with pytest.raises(InvalidRequestError):
        await n.issue(child)
    assert await n.states() == {}


async def test_a_lease_says_what_cut_it(n: Nursery) -> None:
    """The reported duration is the least of all limits, with a warning that names the token."""
    child = await n.child(n.token, "short", ttl=60)
    assert child is not None
    response = await n.issue(child)
    assert response.lease is not None
    assert response.lease.duration <= 60
    assert any("token" in warning for warning in response.warnings)
