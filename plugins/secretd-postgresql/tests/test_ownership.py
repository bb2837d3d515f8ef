"""What a leased login made outlives it, in good hands; what it was granted does not. On every version."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest

from secretd.sdk.plugin import Recipe

HOSTILE = 'a"; DROP SCHEMA app CASCADE; --'


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def owner_of(connection: Any, table: str) -> str | None:
    return await connection.fetchval(
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = $1 AND relkind = 'r'", table
    )


async def test_table_survives_with_the_group(case: Any) -> None:
    """A table that the login made stays, with its rows, and belongs to the group role afterwards."""
    user = await case.create()
    connection = await case.login(user.name, user.password)
    await connection.execute("CREATE TABLE app.orders AS SELECT 7 AS number")
    await connection.close()
    (verdict,) = await case.delete(user)
    assert verdict.outcome == "absent", verdict
    async with case.superuser() as connection:
        assert await connection.fetchval("SELECT number FROM app.orders") == 7
        assert await owner_of(connection, "orders") == case.group


async def test_admin_is_not_left_in_the_group(case: Any) -> None:
    """Handing over leaves the admin's memberships as they were."""
    question = (
        """SELECT count(*) FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = $1"""
    )
    user = await case.create()
    connection = await case.login(user.name, user.password)
    await connection.execute("CREATE TABLE app.orders ()")
    await connection.close()
    await case.delete(user)
    async with case.superuser() as connection:
        assert await connection.fetchval(question, case.admin) == 1


async def test_hostile_names_are_quoted(case: Any) -> None:
    """Schemas, tables and databases with quotes and SQL in their names survive a revocation unharmed."""
    user = await case.create()
    async with case.superuser() as connection:
        await connection.execute(f'GRANT CREATE ON DATABASE "{case.database}" TO "{case.group}"')
        await connection.execute(f'CREATE SCHEMA {quoted(HOSTILE)} AUTHORIZATION "{user.name}"')
        await connection.execute(f"CREATE TABLE {quoted(HOSTILE)}.{quoted('t' + HOSTILE)} ()")
        await connection.execute(
            f'ALTER TABLE {quoted(HOSTILE)}.{quoted("t" + HOSTILE)} OWNER TO "{user.name}"'
        )
    (verdict,) = await case.delete(user)
    assert verdict.outcome == "absent", verdict
    async with case.superuser() as connection:
        assert await owner_of(connection, "t" + HOSTILE) == case.group
        assert await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'app'") == 1


async def test_every_database_is_cleared(case: Any) -> None:
    """Objects and grants in a second database, hostile name and all, do not stand in the way."""
    user = await case.create()
    second = f'second {case.prefix} "; --'
    async with case.superuser() as connection:
        await connection.execute(f"CREATE DATABASE {quoted(second)}")
    try:
        other = await asyncpg.connect(case.super_dsn, database=second)
        await other.execute(
            f'CREATE TABLE kept (); CREATE TABLE granted (); ALTER TABLE granted OWNER TO "{case.admin}"'
        )
        await other.execute(f'SET ROLE "{case.admin}"; GRANT SELECT ON granted TO "{user.name}"; RESET ROLE')
        await other.execute(f'ALTER TABLE kept OWNER TO "{user.name}"')
        (verdict,) = await case.delete(user)
        assert verdict.outcome == "absent", verdict
        assert await owner_of(other, "kept") == case.group
        await other.close()
    finally:
        async with case.superuser() as connection:
            await connection.execute(f"DROP DATABASE {quoted(second)} WITH (FORCE)")


@pytest.mark.parametrize("group", ["", "no-such-role"])
async def test_heir_without_a_named_group(case: Any, group: str) -> None:
    """Without a group role in the recipe the first NOLOGIN role of the account's inherits."""
    user = await case.create()
    connection = await case.login(user.name, user.password)
    await connection.execute("CREATE TABLE app.orders ()")
    await connection.close()
    recipe = Recipe(group_role=group)
    (verdict,) = await case.delete(msgspec.structs.replace(user, recipe=recipe))
    assert verdict.outcome == "absent", verdict
    async with case.superuser() as connection:
        assert await owner_of(connection, "orders") == case.group


async def test_admin_inherits_what_no_group_can(case: Any) -> None:
    """An account without any group leaves its tables to the admin, and dies."""
    user = await case.create(recipe=Recipe())
    async with case.superuser() as connection:
        await connection.execute(f'CREATE TABLE app.orders (); ALTER TABLE app.orders OWNER TO "{user.name}"')
    (verdict,) = await case.delete(user)
    assert verdict.outcome == "absent", verdict
    async with case.superuser() as connection:
        assert await owner_of(connection, "orders") == case.admin


async def test_legacy_grants_are_dropped(case: Any) -> None:
    """Grants, default privileges and rights on the database itself go with the account."""
    user = await case.create()
    async with case.superuser() as connection:
        await connection.execute(
            f'GRANT ALL ON DATABASE "{case.database}" TO "{case.admin}" WITH GRANT OPTION'
        )
        await connection.execute(f'GRANT ALL ON SCHEMA app TO "{case.admin}"; SET ROLE "{case.admin}"')
        await connection.execute(
            f"""CREATE TABLE app.t (); GRANT ALL ON ALL TABLES IN SCHEMA app TO "{user.name}";
            GRANT CONNECT ON DATABASE "{case.database}" TO "{user.name}";
            ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO "{user.name}";
            ALTER ROLE "{user.name}" SET work_mem = '8MB'"""
        )
    (verdict,) = await case.delete(user)
    assert verdict.outcome == "absent", verdict
    async with case.superuser() as connection:
        assert user.name not in str(
            await connection.fetchval("SELECT relacl FROM pg_class WHERE relname = 't'")
        )


async def test_custom_revocation_runs_first(case: Any) -> None:
    """The recipe's own statements run before ours, and an account that they leave is removed all the same."""
    async with case.superuser() as connection:
        await connection.execute(f'CREATE TABLE app.log (who text); GRANT ALL ON app.log TO "{case.admin}"')
        await connection.execute(f'GRANT USAGE ON SCHEMA app TO "{case.admin}"')
    recipe = Recipe(group_role=case.group, revocation=("INSERT INTO app.log VALUES ('{{name}}'); -- done",))
    user = await case.create(recipe=recipe)
    for _ in range(2):  # the second time the account is gone, and nothing of the recipe runs
        (verdict,) = await case.delete(user)
        assert verdict.outcome == "absent", verdict
    async with case.superuser() as connection:
        assert [row["who"] for row in await connection.fetch("SELECT who FROM app.log")] == [user.name]


async def test_failing_revocation_is_named(case: Any) -> None:
    """A statement of the recipe's that fails is that member's error by class, and the login is shut already."""
    recipe = Recipe(group_role=case.group, revocation=("DROP TABLE app.nothing",))
    user, good = await case.create(recipe=recipe), await case.create()
    bad_verdict, good_verdict = await case.delete(user, good)
    assert (bad_verdict.outcome, bad_verdict.error) == ("error", "undefined_table")
    assert good_verdict.outcome == "absent"
    assert not await case.probe(user)
