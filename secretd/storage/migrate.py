"""Bring the database's schema to what this program needs.

``sql/migrations/NNNN_pre_what.sql`` runs before new code may start, ``NNNN_post_what.sql`` only once no
old code runs. All that is pending is applied in one transaction under an advisory lock, so several
daemons may start at once, also through PgBouncer. Each one applied is recorded with its checksum; a
text that changed afterwards, or a record this program has no file for, is refused.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from secretd.sdk.errors import ConfigError
from secretd.storage.pool import Pool, Runner

_FILE = re.compile(r"\d{4}_(?:pre|post)_[a-z0-9_]+\.sql")
_LOCK = 0x5EC_2E7D_0001  # any constant, as long as it never changes
_TIMEOUT = 600.0  # seconds, for another daemon's migration as for our own
_TABLE = """\
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_time timestamptz NOT NULL DEFAULT clock_timestamp()
);"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One file: its name without ``.sql``, and its text."""

    name: str
    text: str = field(repr=False)

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_post(self) -> bool:
        """Whether it must wait until no older daemon runs."""
        return self.name[5:].startswith("post_")


@functools.cache
def list_migrations() -> tuple[Migration, ...]:
    """What this program ships, in order of application; raise ValueError for a misnamed file."""
    folder = resources.files("secretd.storage") / "sql" / "migrations"
    found = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not _FILE.fullmatch(file.name):
            raise ValueError(f"migration {file.name!r} is not NNNN_pre_what.sql or NNNN_post_what.sql")
        found.append(Migration(name=file.name.removesuffix(".sql"), text=file.read_text(encoding="utf-8")))
    if len({migration.name[:4] for migration in found}) != len(found):
        raise ValueError("two migrations share a number")
    return tuple(found)


async def pending(runner: Runner, *, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """What is not applied yet, in order.

    ConfigError: a migration changed after it was applied, or the database is newer than the program.
    """
    known = {migration.name: migration for migration in _shipped(migrations)}
    for name, checksum in (await _read_applied(runner)).items():
        if name not in known:
            raise ConfigError(
                f"the database is newer than this program: it has migration {name}",
                hint="start the newer secretd, or restore the backup from before the upgrade",
            )
        if known.pop(name).checksum != checksum:
            raise ConfigError(
                f"migration {name} was applied with another text than this program's",
                hint="migrations are never edited: reinstall the released package",
            )
    return list(known.values())


async def _read_applied(runner: Runner) -> dict[str, str]:
    table = await runner.fetchrow("find_migrations_table")
    if table is None or not table["present"]:
        return {}
    return {row["name"]: row["checksum"] for row in await runner.fetch("list_migrations")}


async def migrate(
    where: str | Pool, *, migrations: Sequence[Migration] | None = None, post: bool = True
) -> list[str]:
    """Apply what is pending, all or nothing; return the names applied.

    ``where`` is a connection text or an open pool; ``post=False`` leaves the *post* migrations for
    later. Errors as :func:`pending`, and the pool's.
    """
    if isinstance(where, str):
        async with Pool.open(where, size=1) as pool:
            return await migrate(pool, migrations=migrations, post=post)
    async with where.transaction() as transaction:
        await transaction.run_script(f"SELECT pg_advisory_xact_lock({_LOCK});", timeout=_TIMEOUT)
        wanted = [one for one in await pending(transaction, migrations=migrations) if post or not one.is_post]
        if wanted:
            await transaction.run_script(_TABLE, timeout=_TIMEOUT)
        for migration in wanted:
            await transaction.run_script(migration.text, timeout=_TIMEOUT)
            await transaction.execute("insert_migration", migration.name, migration.checksum)
    return [migration.name for migration in wanted]


async def require_migrated(pool: Pool, *, migrations: Sequence[Migration] | None = None) -> None:
    """Raise ConfigError unless the schema suits this program (*post* migrations may be pending)."""
    missing = [migration for migration in await pending(pool, migrations=migrations) if not migration.is_post]
    if missing:
        raise ConfigError(
            f"the database lacks migration {missing[0].name}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            hint='run `secretd migrate` with a role that may create tables, or set migrate = "auto"',
        )


def print_sql(migrations: Sequence[Migration] | None = None) -> str:
    """The same work as text for an administrator's psql: all migrations, or those given."""
    parts = ["BEGIN;", f"SELECT pg_advisory_xact_lock({_LOCK});", _TABLE]
    for migration in _shipped(migrations):
        record = f"('{migration.name}', '{migration.checksum}')"  # both from our own alphabets
        parts += [
            f"-- {migration.name}",
            migration.text.strip(),
            f"INSERT INTO migrations (name, checksum) VALUES {record};",
        ]
    return "\n".join([*parts, "COMMIT;", ""])


def _shipped(migrations: Sequence[Migration] | None) -> Sequence[Migration]:
    return list_migrations() if migrations is None else migrations
