"""sys/leases/view, show, top, retry and force-drop: who holds what, and what operators do about ends that fail."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from secretd.sdk.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from secretd.sdk.request import READ, UPDATE

_KNOWN = {
    "lease_id", "state", "mount", "role", "target", "account_name", "display_name", "entity_id", "token_accessor",
    "client_address", "created_time", "issue_time", "last_renewal", "expire_time", "max_expire_time", "ttl", "attempts",
    "last_error", "first_failed_time", "next_try_time", "end_reason", "end_time",
}  # fmt: skip


@pytest.fixture
async def names(root: Any) -> Any:
    """Two mounts that lease names for an hour, and a minute."""
    for mount in ("names", "others"):
        await root.write(f"sys/mounts/{mount}", type="lender")
        await root.write(f"{mount}/roles/r", ttl="1h")
        await root.write(f"{mount}/roles/short", ttl="1m")
    return root


async def _ids(client: Any, **question: Any) -> set[str]:
    return {lease["lease_id"] for lease in (await client.read("sys/leases/view", **question))["leases"]}


async def _fail(names: Any, lender: Any, lease_id: str) -> None:
    """End a lease whose target is out of order."""
    lender.is_broken = True
    await names.write("sys/leases/revoke", lease_id=lease_id, sync=False)
    while not (await names.read(f"sys/leases/show/{lease_id}"))["attempts"]:
        await names.core.parts.revoker.run_once()


async def test_each_filter_finds_its_leases(names: Any) -> None:
    """Mount, role, user, state, prefix and what is left choose; several add up; a holder has three names."""
    first = await names.lease("names/creds/r")
    second = await names.lease("names/creds/short")
    third = await names.lease("others/creds/r")
    accessor = (await names.read("auth/token/lookup-self"))["accessor"]
    for question, wanted in (
        ({}, {first, second, third}),
        ({"mount": "names"}, {first, second}),
        ({"mount": "/names/", "role": "r"}, {first}),
        ({"role": "r"}, {first, third}),
        ({"target": "names"}, {first, second, third}),
        ({"user": "name-2"}, {second}),
        ({"holder": "root"}, {first, second, third}),
        ({"holder": accessor}, {first, second, third}),
        ({"holder": "nobody"}, set()),
        ({"state": "active"}, {first, second, third}),
        ({"state": "revoking"}, set()),
        ({"expiring_in": "5m"}, {second}),
        ({"prefix": "names/creds/r/"}, {first}),
        ({"prefix": "others", "holder": "root", "role": "r"}, {third}),
        ({"failing": "true"}, set()),
    ):
        assert await _ids(names, **question) == wanted, question


async def test_pages(names: Any) -> None:
    """A full page names the id to go on after; the last page names none."""
    made = sorted([await names.lease("names/creds/r") for _ in range(3)])
    page = await names.read("sys/leases/view", limit="2")
    assert ([lease["lease_id"] for lease in page["leases"]], page["next"]) == (made[:2], made[1])
    rest = await names.read("sys/leases/view", limit="2", after=page["next"])
    assert ([lease["lease_id"] for lease in rest["leases"]], rest["next"]) == (made[2:], "")


@pytest.mark.parametrize(
    "question",
    [{"state": "nope"}, {"limit": "0"}, {"limit": "1001"}, {"expiring_in": "-1s"}, {"failing": "x"}],
)
async def test_questions_that_mean_nothing(root: Any, question: dict[str, str]) -> None:
    """A state that is none, a page of no rows: the caller is told."""
    with pytest.raises(InvalidRequestError):
        await root.read("sys/leases/view", **question)


async def test_a_lease_is_shown_by_id_and_by_account(names: Any) -> None:
    """From the name of an account to who holds it since when, in one question."""
    lease_id = await names.lease("names/creds/r")
    seen = await names.read(f"sys/leases/show/{lease_id}")
    assert seen == await names.read("sys/leases/show/name-1")
    assert (seen["account_name"], seen["display_name"], seen["mount"]) == ("name-1", "root", "names/")
    assert (seen["client_address"], seen["state"], seen["receipt"]) == ("127.0.0.1", "active", None)
    assert 3500 < seen["ttl"] <= 3600
    for nobody in ("nobody", "names/creds/r/never"):
        with pytest.raises(NotFoundError):
            await names.read(f"sys/leases/show/{nobody}")


async def test_what_is_over_has_a_receipt(names: Any) -> None:
    """An ended lease can still be asked for: when and how its end was proved, and why it came."""
    lease_id = await names.lease("names/creds/r")
    await names.write("sys/leases/revoke", lease_id=lease_id)
    seen = await names.read("sys/leases/show/name-1")
    assert (seen["lease_id"], seen["state"], seen["end_reason"]) == (lease_id, "revoked", "revoked")
    assert seen["receipt"] == {
        "proved_time": seen["end_time"], "proof": "absent after issue", "sessions_ended": 0,
    }  # fmt: skip
    assert await _ids(names) == set()
    assert await _ids(names, state="revoked") == {lease_id}


async def test_a_failing_end_is_seen_and_tried_again(names: Any, lender: Any) -> None:
    """A failure has its number, class and next try; retry makes it due now and it ends."""
    lease_id = await names.lease("names/creds/r")
    await names.lease("names/creds/r")
    await _fail(names, lender, lease_id)
    (seen,) = (await names.read("sys/leases/view", failing="true"))["leases"]
    assert (seen["lease_id"], seen["last_error"]) == (lease_id, "out_of_order")
    assert seen["next_try_time"] > seen["first_failed_time"]
    lender.is_broken = False
    assert await names.write("sys/leases/retry", lease_id=lease_id) == {"retried": 1}
    await names.core.parts.revoker.run_once()
    await names.core.parts.revoker.wait_until_over({lease_id: seen["attempts"]})
    assert lender.accounts == {"name-2"}
    again = await names.ask(UPDATE, "sys/leases/retry", prefix="names/")
    assert (again.data, len(again.warnings)) == ({"retried": 0}, 1)


@pytest.mark.parametrize("fields", [{}, {"prefix": "/"}, {"prefix": "a", "lease_id": "a"}])
async def test_retry_wants_to_know_what(root: Any, fields: dict[str, str]) -> None:
    """Neither, nor both of lease and prefix, is no question."""
    with pytest.raises(InvalidRequestError, match="either lease_id or prefix"):
        await root.write("sys/leases/retry", **fields)


async def test_a_dropped_lease_is_a_tombstone(names: Any, lender: Any) -> None:
    """Dropping answers which account may live on; the row keeps it, who did it and why."""
    lease_id = await names.lease("names/creds/r")
    await _fail(names, lender, lease_id)
    dropped = await names.ask(
        UPDATE, "sys/leases/force-drop", lease_id=lease_id, reason="the host was scrapped"
    )
    assert (dropped.data["account_name"], dropped.data["target"]) == ("name-1", "names")
    assert "by hand" in dropped.warnings[0]
    seen = await names.read("sys/leases/show/name-1")
    assert (seen["state"], seen["end_reason"]) == ("abandoned", "force-drop by root: the host was scrapped")
    assert await _ids(names, state="abandoned") == {lease_id}
    with pytest.raises(ConflictError, match="over already"):
        await names.write("sys/leases/force-drop", lease_id=lease_id, reason="again")


async def test_what_lives_is_not_dropped(names: Any) -> None:
    """A lease whose end nobody asked for is not dropped: its login would live for ever."""
    lease_id = await names.lease("names/creds/r")
    with pytest.raises(ConflictError, match="not being ended"):
        await names.write("sys/leases/force-drop", lease_id=lease_id, reason="tidy")
    with pytest.raises(NotFoundError):
        await names.write("sys/leases/force-drop", lease_id="names/creds/r/never", reason="tidy")
    for reason in ("", " ", "two\nlines", "x" * 201):
        with pytest.raises(InvalidRequestError, match="reason"):
            await names.write("sys/leases/force-drop", lease_id=lease_id, reason=reason)
    assert await _ids(names) == {lease_id}


async def test_top_begins_with_what_is_due(names: Any, lender: Any) -> None:
    """Counts by state, the age of the oldest end that is not proved, and the leases in the order of their ends."""
    await names.lease("names/creds/r")
    soon = await names.lease("names/creds/short")
    seen = await names.read("sys/leases/top")
    assert (seen["states"], seen["failing"], seen["oldest_unrevoked_age"]) == ({"active": 2}, 0, 0)
    assert [lease["lease_id"] for lease in seen["next"]][0] == soon
    await _fail(names, lender, soon)
    assert len((await names.read("sys/leases/top", limit="1"))["next"]) == 1
    assert (await names.read("sys/leases/top"))["failing"] == 1


async def test_the_age_of_a_failing_end_is_a_metric(names: Any, lender: Any) -> None:
    """Lateness begins anew with each try; the age of the oldest unrevoked lease does not."""
    lease_id = await names.lease("names/creds/r")
    await _fail(names, lender, lease_id)
    async with names.core.parts.pool.transaction() as transaction:
        await transaction.run_script(
            "UPDATE leases SET expire_time = expire_time - interval '2 h'", timeout=5
        )
    text = (await names.ask(READ, "sys/metrics")).raw[0].decode()
    (line,) = [
        line for line in text.splitlines() if line.startswith("secretd_lease_oldest_unrevoked_seconds ")
    ]
    assert 7200 <= float(line.split()[1]) < 7300
    assert (await names.read("sys/leases/top"))["oldest_unrevoked_age"] >= 7200


async def test_no_answer_holds_a_secret(names: Any, lender: Any) -> None:
    """Answers have the columns that are listed here and no others: no recipe, no token's hash, no credential."""
    lease_id = await names.lease("names/creds/r")
    await _fail(names, lender, lease_id)
    token = names.token
    found = [
        await names.read("sys/leases/view"),
        await names.read("sys/leases/top"),
        await names.read(f"sys/leases/show/{lease_id}"),
        await names.write("sys/leases/force-drop", lease_id=lease_id, reason="why"),
    ]
    assert set(found[0]["leases"][0]) == set(found[1]["next"][0]) == _KNOWN
    assert set(found[2]) == _KNOWN | {"receipt", "other_leases"}
    text = msgspec.json.encode(found).decode()
    assert token not in json.dumps([lease | {"display_name": ""} for lease in found[0]["leases"]])
    for word in ("recipe", "token_id", "fence", "password"):
        assert word not in text


@pytest.mark.parametrize("path", ["view", "show/x", "top"])
async def test_views_need_sudo(root: Any, path: str) -> None:
    """Reading all of sys is not enough to see who holds what."""
    weak = await root.new_token('path "sys/*" { capabilities = ["read", "update"] }')
    with pytest.raises(PermissionDeniedError):
        await weak.read(f"sys/leases/{path}")
    with pytest.raises(PermissionDeniedError):
        await weak.write("sys/leases/force-drop", lease_id="x", reason="y")


async def test_an_end_can_be_planned(names: Any) -> None:
    """Revoke with after or at shortens a lease to that end, is seen, and no renewal passes it."""
    lease_id = await names.lease("names/creds/r")
    planned = await names.ask(UPDATE, "sys/leases/revoke", lease_id=lease_id, after="10m")
    assert 590 < planned.data["ttl"] <= 600
    assert not planned.warnings
    renewed = await names.ask(UPDATE, "sys/leases/renew", lease_id=lease_id, increment="1h")
    assert renewed.lease.duration <= 600
    seen = await names.read(f"sys/leases/show/{lease_id}")
    assert seen["end_reason"] == "planned by an operator"
    assert seen["expire_time"] == seen["max_expire_time"] == planned.data["expire_time"]
    later = await names.ask(UPDATE, f"sys/leases/revoke/{lease_id}", at="2999-01-01T00:00:00Z")
    assert later.data["expire_time"] == planned.data["expire_time"]


async def test_a_planned_end_after_the_lease_s_own(names: Any) -> None:
    """A plan for later than the lease lives changes nothing now, and says so."""
    lease_id = await names.lease("names/creds/r")
    planned = await names.ask(UPDATE, "sys/leases/revoke", lease_id=lease_id, after="2h")
    assert 3500 < planned.data["ttl"] <= 3600
    assert "earlier by itself" in planned.warnings[0]
    renewed = await names.ask(UPDATE, "sys/leases/renew", lease_id=lease_id, increment="5h")
    assert renewed.lease.duration <= 7200


async def test_a_plan_for_now_is_an_end(names: Any, lender: Any) -> None:
    """An end planned for a moment that is over is due at once."""
    lease_id = await names.lease("names/creds/r")
    assert (await names.write("sys/leases/revoke", lease_id=lease_id, at="2020-01-01T00:00:00Z"))["ttl"] == 0
    await names.core.parts.revoker.run_once()
    await names.core.parts.revoker.wait_until_over({lease_id: 0})
    assert not lender.accounts


@pytest.mark.parametrize(
    "plan",
    [
        {"after": "-1s"},
        {"at": "tomorrow"},
        {"at": "2026-11-23T10:00:00"},
        {"after": "1h", "at": "2999-01-01T00:00:00Z"},
    ],
)
async def test_plans_that_mean_nothing(names: Any, lender: Any, plan: dict[str, str]) -> None:
    """A plan that cannot be understood ends nothing."""
    lease_id = await names.lease("names/creds/r")
    with pytest.raises(InvalidRequestError):
        await names.write("sys/leases/revoke", lease_id=lease_id, **plan)
    with pytest.raises(InvalidRequestError, match="lease not found"):
        await names.write("sys/leases/revoke", lease_id="names/creds/r/never", after="1h")
    assert lender.accounts
