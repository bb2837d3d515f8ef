"""The named queries: their form, and that each one prepares on a migrated database."""

from __future__ import annotations

import re

import asyncpg
import pytest

from secretd.storage.migrate import migrate
from secretd.storage.queries import QUERIES, parse_queries, sql

_WHOLE = "-- name: read_thing\n-- Read a thing.\n-- $1 its id\nSELECT $1::text;\n"


def test_every_query_is_documented() -> None:
    """Each shipped query has a verb_noun name, a sentence of purpose and a meaning for each parameter."""
    assert QUERIES
    for name, query in QUERIES.items():
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name)
        assert re.fullmatch(r"[A-Z].{8,}\.", query.purpose), name
        assert all(query.parameters), name


async def test_every_query_prepares_on_a_migrated_database(pg_dsn: str) -> None:
    """Postgres accepts each shipped query after the migrations, with the documented number of parameters."""
    await migrate(pg_dsn)
    connection = await asyncpg.connect(pg_dsn)
    refused = {}
    for name, query in QUERIES.items():
        try:
            statement = await connection.prepare(query.text)
            assert len(statement.get_parameters()) == len(query.parameters), name
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await connection.close()
    assert refused == {}


def test_a_query_is_read_with_its_comments() -> None:
    """Name, purpose and parameters are read; the text keeps the statement only."""
    query = parse_queries("-- About things.\n\n" + _WHOLE, source="things.sql")["read_thing"]
    assert (query.purpose, query.parameters, query.text) == ("Read a thing.", ("its id",), "SELECT $1::text")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1;\n" + _WHOLE,
        _WHOLE + _WHOLE,
        _WHOLE.replace("read_thing", "thing"),
        _WHOLE.replace("read_thing", "readThing"),
        _WHOLE.replace("Read a thing.", "read a thing"),
        _WHOLE.replace("-- Read a thing.\n", ""),
        _WHOLE.replace("-- $1 its id\n", ""),
        _WHOLE.replace("-- $1 its id\n", "-- $1 its id\n-- $2 nothing\n"),
        _WHOLE.replace("$1", "$2"),
        _WHOLE.replace("SELECT $1::text;\n", ""),
    ],
)
def test_a_misshapen_query_is_refused(text: str) -> None:
    """A file with a stray statement, a bad name, no sentence or wrong parameters does not load."""
    with pytest.raises(ValueError, match=r"things\.sql"):
        parse_queries(text, source="things.sql")


def test_an_unknown_name_is_a_key_error() -> None:
    """A misspelt query name fails at once."""
    with pytest.raises(KeyError):
        sql("read_nothing_at_all")
