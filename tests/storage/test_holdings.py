"""Who holds what: each question finds its leases, by an index, page by page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from secretd.storage.holdings import Holdings, Question
from secretd.storage.leases import Leases
from secretd.storage.migrate import migrate
from secretd.storage.pool import Pool
from secretd.storage.queries import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.clusters import Cluster

ROWS = 120_000
# 96 of 100 live on for hours; of the rest one each is pending, failing, over, and about to expire. A tenth is due.
_FILL = """
INSERT INTO mounts (id, kind, path, type, accessor)
SELECT 'mount-' || n, 'secret', 'db' || n || '/', 'database', 'acc-' || n FROM generate_series(0, 9) n;
INSERT INTO leases (id, generation, state, fence_key, ttl, max_ttl, issue_deadline, target_deadline, issued_time,
  expire_time, max_expire_time, due_time, attempts, first_failed_time, last_error, revoked_time)
SELECT 'db' || n % 10 || '/creds/role-' || n % 50 || '/' || lpad(n::text, 24, '0'), 1, state, n, '1h', '24h',
  now(), now(),
  CASE WHEN state <> 'pending' THEN now() END, CASE WHEN state <> 'pending' THEN due END, now() + interval '24 h', due,
  CASE WHEN state = 'revoking' THEN 7 ELSE 0 END, CASE WHEN state = 'revoking' THEN now() END,
  CASE WHEN state = 'revoking' THEN 'insufficient_privilege' END, CASE WHEN state = 'revoked' THEN now() END
FROM (SELECT n,
    CASE n % 100 WHEN 1 THEN 'pending' WHEN 2 THEN 'revoking' WHEN 3 THEN 'revoked' ELSE 'active' END AS state,
    now() + CASE WHEN n % 100 = 4 THEN interval '1 min' WHEN n % 100 > 90 THEN interval '-1 min'
      ELSE interval '5 h' END AS due
  FROM generate_series(1, {rows}) n) made;
INSERT INTO lease_facts (id, mount_id, secret_type, path, role, target, account_name, token_id, token_accessor,
  entity_id, display_name, recipe)
SELECT id, 'mount-' || n % 10, 'creds', 'db' || n % 10 || '/creds/role-' || n % 50, 'role-' || n % 50,
  'host-' || n % 40 || ':5432/app', 'v-user-' || n, decode(lpad(to_hex(n % 500), 64, '0'), 'hex'),
  'accessor-' || n % 500, 'entity-' || n % 300, 'person-' || n % 400, 'recipe'
FROM (SELECT id, fence_key AS n FROM leases) made;
INSERT INTO tokens (id, accessor, display_name, path, policies, expire_time, mac)
SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), 'accessor-' || n, 'person', 'auth/token/create', '{{}}',
  now() + interval '1 h', '' FROM generate_series(0, 499) n;
ANALYZE;
"""
_QUESTIONS = {
    "target": (Question(target="host-7:5432/app"), "lease_facts_target"),
    "role": (Question(role="role-7"), "lease_facts_role"),
    "role of a mount": (Question(role="role-7", mount_id="mount-7"), "lease_facts"),
    "mount": (Question(mount_id="mount-7"), "lease_facts"),
    "display name": (Question(holder="person-7"), "lease_facts_holder"),
    "entity": (Question(holder="entity-7", holder_kind="entity"), "lease_facts_entity"),
    "token": (Question(holder="accessor-7", holder_kind="token"), "lease_facts_token"),
    "account": (Question(account_name="v-user-7777"), "lease_facts_account"),
    "pending": (Question(state="pending"), "leases_unusual"),
    "revoked": (Question(state="revoked"), "leases_"),
    "active": (Question(state="active"), "leases_pkey"),
    "failing": (Question(is_failing=True), "leases_failing"),
    "expiring": (Question(expiring_within=120.0), ""),
    "prefix": (Question(prefix="db7/creds/role-7/"), ""),
    "all": (Question(), "leases_pkey"),
}


@pytest.fixture
async def filled(cluster: Cluster) -> AsyncIterator[str]:
    """A database with 120,000 leases, cloned from one that was filled once."""
    async with cluster.database(template=await cluster.template("secretd_many_leases", _fill)) as dsn:
        yield dsn


async def _fill(dsn: str) -> None:
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_FILL.format(rows=ROWS))
    finally:
        await connection.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


async def _explain(connection: asyncpg.Connection, name: str, *parameters: object) -> tuple[set[str], float]:
    """The indexes that a query used, and how long it took in milliseconds; a scan of a whole table fails."""
    prepared = await connection.prepare(sql(name))
    found = await prepared.explain(*parameters, analyze=True)
    whole = (json.loads(found) if isinstance(found, str) else found)[0]
    nodes = list(_nodes(whole["Plan"]))
    scanned = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
    assert not {"leases", "lease_facts"} & set(scanned), (
        name,
        [(n["Node Type"], n.get("Index Name")) for n in nodes],
    )
    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    return used, whole["Execution Time"]


async def test_each_question_goes_by_an_index(filled: str) -> None:
    """No operator's filter reads a whole table of 120,000 leases, whether its plan knows the values or not."""
    connection = await asyncpg.connect(filled)
    try:
        for mode in ("force_custom_plan", "auto"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for label, (question, index) in _QUESTIONS.items():
                parameters = question.parameters(after="", limit=1000)
                used, took = await _explain(connection, question.query, *parameters)
                print(f"{label:16} {took:7.1f} ms by {', '.join(sorted(used))}")
                assert any(name.startswith(index) for name in used), (label, used)
    finally:
        await connection.close()


async def test_questions_whose_plan_knows_no_values(filled: str) -> None:
    """A plan made once for all values reads no whole table either."""
    connection = await asyncpg.connect(filled)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for name in sorted({question.query for question, _ in _QUESTIONS.values()}):
            kinds = "int8, text, text, text, text, text, text, text, text, float8, boolean, int8"
            await connection.execute(f"PREPARE asked ({kinds}) AS {sql(name)}")
            values = "0, '', chr(1114111), 'a', 'a', 'a', 'a', 'a', 'pending', 9, true, 1000"
            plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({values})")
            await connection.execute("DEALLOCATE asked")
            scanned = [
                n["Relation Name"]
                for n in _nodes(json.loads(plan)[0]["Plan"])
                if n["Node Type"] == "Seq Scan"
            ]
            assert not {"leases", "lease_facts"} & set(scanned), name
    finally:
        await connection.close()


async def test_claims_and_the_next_go_by_the_due_index(filled: str) -> None:
    """The revoker's claim and the operators' list of what is due next read as many rows as they want."""
    connection = await asyncpg.connect(filled)
    try:
        used, took = await _explain(connection, "list_next_leases", 0, 50)
        print(f"next 50          {took:7.1f} ms by {', '.join(sorted(used))}")
        assert "leases_due" in used
        used, took = await _explain(connection, "claim_due_leases", 1, 200, 60.0)
        print(f"claim 200        {took:7.1f} ms by {', '.join(sorted(used))}")
        assert "leases_due" in used
    finally:
        await connection.close()


@pytest.mark.parametrize("label", _QUESTIONS)
async def test_pages_are_the_whole(filled: str, label: str) -> None:
    """Page after page by id yields each lease of the answer once, and all of them fit the question."""
    question, _ = _QUESTIONS[label]
    async with Pool.open(filled, size=1) as pool:
        holdings = Holdings(pool, Leases(pool, 1))
        whole = [row["id"] for row in await holdings.list_page(question)]
        seen: list[str] = []
        while len(seen) < len(whole):
            size = max(1, len(whole) // 3)
            page = await holdings.list_page(question, after=seen[-1] if seen else "", limit=size)
            assert page
            seen += [row["id"] for row in page]
            assert all(_fits(row, question) for row in page)
    assert seen[: len(whole)] == whole == sorted(set(whole))


def _fits(row: Any, question: Question) -> bool:
    wanted = {
        "target": question.target,
        "role": question.role,
        "mount_id": question.mount_id,
        "account_name": question.account_name,
        "state": question.state,
    }
    names = (row["display_name"], row["entity_id"], row["token_accessor"])
    return (
        all(not value or row[name] == value for name, value in wanted.items())
        and row["id"].startswith(question.prefix)
        and (not question.holder or question.holder in names)
        and (not question.is_failing or row["attempts"] > 0)
        and (bool(question.state) or row["state"] in {"pending", "active", "revoking"})
    )


async def test_filters_add_up(filled: str) -> None:
    """Several filters together leave what fits all of them."""
    async with Pool.open(filled, size=1) as pool:
        holdings = Holdings(pool, Leases(pool, 1))
        # 2 of 100 is failing; its role, mount, target and holder follow from its number
        asked = Question(
            role="role-2", mount_id="mount-2", target="host-2:5432/app", holder="person-2", state="revoking"
        )
        found = await holdings.list_page(asked)
        assert all(_fits(row, asked) for row in found)
        assert len(found) == ROWS // 400
        assert not await holdings.list_page(Question(role="role-2", mount_id="mount-3"))


async def test_an_account_leads_to_its_lease(filled: str) -> None:
    """From the name of a login on a target to its lease in one question, over or not."""
    async with Pool.open(filled, size=1) as pool:
        holdings = Holdings(pool, Leases(pool, 1))
        for number, state in ((7777, "active"), (503, "revoked")):
            (found,) = await holdings.list_of_account(f"v-user-{number}", 10)
            assert (found["state"], found["id"][-6:]) == (state, f"{number:06}")
            assert await holdings.find(found["id"]) is not None
        assert await holdings.list_of_account("nobody", 10) == []


async def test_what_is_dropped_leaves_a_tombstone(filled: str) -> None:
    """Only a lease that is being ended can be dropped; its row stays, names the account and has the reason."""
    async with Pool.open(filled, size=1) as pool:
        holdings = Holdings(pool, Leases(pool, 1))
        (living,) = await holdings.list_of_account("v-user-7777", 1)
        assert await holdings.abandon(living["id"], "why") is None
        (failing,) = await holdings.list_of_account("v-user-502", 1)
        dropped = await holdings.abandon(failing["id"], "why")
        assert dropped is not None
        assert (dropped["account_name"], dropped["last_error"]) == ("v-user-502", "insufficient_privilege")
        (stone,) = await holdings.list_of_account("v-user-502", 1)
        assert (stone["state"], stone["end_reason"]) == ("abandoned", "why")
        assert await holdings.hasten(failing["id"]) == 0
        older = Holdings(pool, Leases(pool, 2))
        assert await older.hasten_prefix("db2/") == 0
        assert await holdings.hasten_prefix("db2/") == ROWS // 100 - 1


async def test_a_planned_end_holds(filled: str) -> None:
    """A planned end shortens, is never later than the lease's own, and no renewal passes it."""
    async with Pool.open(filled, size=1) as pool:
        leases = Leases(pool, 1)
        holdings = Holdings(pool, leases)
        (lease,) = await holdings.list_of_account("v-user-7777", 1)
        capped = await holdings.cap(lease["id"], seconds=60.0, moment=None)
        assert capped is not None
        assert 55 < capped["lease_duration"] <= 60
        renewed = await leases.extend(lease["id"], 3600, lease["max_expire_time"])
        assert renewed is not None
        assert renewed <= 60
        again = await holdings.cap(lease["id"], seconds=None, moment=lease["max_expire_time"])
        assert again is not None
        assert again["expire_time"] == capped["expire_time"]
        (shown,) = await holdings.list_of_account("v-user-7777", 1)
        assert shown["end_reason"] == "planned by an operator"
        (over,) = await holdings.list_of_account("v-user-503", 1)
        assert await holdings.cap(over["id"], seconds=60.0, moment=None) is None
