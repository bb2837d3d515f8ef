"""Migrations: applied once, all or nothing, and never against a database that disagrees."""

from __future__ import annotations

import asyncio
import re
from importlib import resources

import asyncpg
import pytest

from secretd.sdk.errors import ConfigError, StorageUnavailableError
from secretd.storage.migrate import Migration, list_migrations, migrate, pending, print_sql, require_migrated
from secretd.storage.pool import Pool

ONE = Migration(name="0001_pre_begin", text="CREATE TABLE one (id bigint PRIMARY KEY);")
TWO = Migration(name="0002_pre_two", text="CREATE TABLE two (id bigint); INSERT INTO one VALUES (2);")
POST = Migration(name="0003_post_drop", text="DROP TABLE two;")
BROKEN = Migration(name="0003_pre_broken", text="CREATE TABLE three (id bigint); SELECT 1 / 0;")

# Every object that a migration may make, as comparable text.
_CATALOG = """
SELECT format('column %s.%s %s null=%s default=%s collation=%s', c.relname, a.attname,
              format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), l.collname)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v')
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace = 'public'::regnamespace
UNION ALL SELECT format('table %s %s %s', relname, relkind, reloptions)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT format('index %s', pg_get_indexdef(indexrelid))
FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT format('function %s', pg_get_functiondef(oid))
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT format('trigger %s', pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal
UNION ALL SELECT format('type %s %s', typname, typtype)
FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
"""


async def _describe(connection: asyncpg.Connection) -> set[str]:
    """The catalog as text, and how many rows each table was born with; without the record of migrations."""
    found = {row[0] for row in await connection.fetch(_CATALOG)}
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (name,) in tables:
        found.add(f"rows {name} {await connection.fetchval(f'SELECT count(*) FROM {name}')}")
    return {line for line in found if not re.search(r"\bmigrations(_\w+)?\b", line)}


async def test_schema_equals_the_migrations(pg_dsn: str) -> None:
    """sql/schema.sql, run on an empty database, makes the very objects that the migrations make."""
    connection = await asyncpg.connect(pg_dsn)
    try:
        schema = resources.files("secretd.storage").joinpath("sql", "schema.sql").read_text(encoding="utf-8")
        await connection.execute(schema)
        from_schema = await _describe(connection)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await migrate(pg_dsn)
        from_migrations = await _describe(connection)
    finally:
        await connection.close()
    assert from_schema == from_migrations


def test_shipped_files_obey_the_pattern() -> None:
    """Each shipped migration is NNNN_pre_what or NNNN_post_what, numbered from 1 without a gap."""
    names = [migration.name for migration in list_migrations()]
    assert all(re.fullmatch(r"\d{4}_(pre|post)_[a-z0-9_]+", name) for name in names)
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


async def test_each_migration_is_applied_once(pg_dsn: str) -> None:
    """What is pending is applied in order and recorded; a second run has nothing to do."""
    assert await migrate(pg_dsn, migrations=[ONE]) == [ONE.name]
    assert await migrate(pg_dsn, migrations=[ONE, TWO]) == [TWO.name]
    assert await migrate(pg_dsn, migrations=[ONE, TWO]) == []
    async with Pool.open(pg_dsn) as pool:
        recorded = {row["name"]: row["checksum"] for row in await pool.fetch("list_migrations")}
    assert recorded == {ONE.name: ONE.checksum, TWO.name: TWO.checksum}


async def test_many_daemons_may_migrate_at_once(pg_dsn: str) -> None:
    """Of several concurrent runs on an empty database, one applies each migration and none fails."""
    done = await asyncio.gather(*(migrate(pg_dsn, migrations=[ONE, TWO]) for _ in range(4)))
    assert sorted(done) == [[], [], [], [ONE.name, TWO.name]]


async def test_a_failing_migration_leaves_nothing(pg_dsn: str) -> None:
    """If one migration fails, none of the run is applied or recorded."""
    await migrate(pg_dsn, migrations=[ONE])
    with pytest.raises(StorageUnavailableError, match="22012"):
        await migrate(pg_dsn, migrations=[ONE, TWO, BROKEN])
    async with Pool.open(pg_dsn) as pool:
        assert [migration.name for migration in await pending(pool, migrations=[ONE, TWO])] == [TWO.name]


async def test_post_migrations_may_wait(pg_dsn: str) -> None:
    """With post=False the post migrations stay pending, and the program may start without them."""
    assert await migrate(pg_dsn, migrations=[ONE, TWO, POST], post=False) == [ONE.name, TWO.name]
    async with Pool.open(pg_dsn) as pool:
        await require_migrated(pool, migrations=[ONE, TWO, POST])
    assert await migrate(pg_dsn, migrations=[ONE, TWO, POST]) == [POST.name]


async def test_a_changed_migration_is_refused(pg_dsn: str) -> None:
    """A migration whose text differs from the applied one stops everything, with a hint."""
    await migrate(pg_dsn, migrations=[ONE])
    edited = Migration(name=ONE.name, text=ONE.text + " -- better")
    with pytest.raises(ConfigError, match="another text") as caught:
        await migrate(pg_dsn, migrations=[edited])
    assert caught.value.hint


async def test_a_newer_database_is_refused(pg_dsn: str) -> None:
    """A database with a migration that this program does not know is left alone, with a hint."""
    await migrate(pg_dsn, migrations=[ONE, TWO])
    with pytest.raises(ConfigError, match="newer than this program") as caught:
        await migrate(pg_dsn, migrations=[ONE])
    assert caught.value.hint


async def test_an_unmigrated_database_is_refused_with_the_command(pg_dsn: str) -> None:
    """require_migrated on an empty database names the command that helps, and passes after it."""
    async with Pool.open(pg_dsn) as pool:
        with pytest.raises(ConfigError) as caught:
            await require_migrated(pool)
        assert "secretd migrate" in (caught.value.hint or "")
        await migrate(pool)
        await require_migrated(pool)


async def test_printed_sql_does_the_same_work(pg_dsn: str) -> None:
    """The text for an administrator, run as one script, leaves nothing pending."""
    connection = await asyncpg.connect(pg_dsn)
    try:
        await connection.execute(print_sql())
    finally:
        await connection.close()
    async with Pool.open(pg_dsn) as pool:
        await require_migrated(pool)
        assert await pending(pool) == []


def test_printed_sql_is_one_locked_transaction() -> None:
    """The text takes the lock first and commits last, with a record after each migration."""
    text = print_sql([ONE])
    assert text.startswith("BEGIN;\nSELECT pg_advisory_xact_lock(")
    assert text.endswith(f"('{ONE.name}', '{ONE.checksum}');\nCOMMIT;\n")
