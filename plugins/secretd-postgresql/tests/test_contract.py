"""The database contract, on every supported PostgreSQL, through a child process."""

from __future__ import annotations

from secretd.sdk.testing import DatabaseContract


class TestPostgres(DatabaseContract):
    """All of the suite; the fixture ``case`` says where."""
