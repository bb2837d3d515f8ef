"""Texts are split as psql splits them, and what is filled in can end no quote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretd.sdk.errors import InvalidRequestError
from secretd_postgresql.scram import verifier
from secretd_postgresql.statements import (
    fill,
    literal,
    names_array,
    prepare,
    require_name,
    require_password,
    split,
    timestamp,
)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ; ;\n", []),
        ("-- nothing;", []),
        ("/* a; /* b; */ c; */", []),
        ("A;B", ["A", "B"]),
        ("A;B;", ["A", "B"]),
        ("SELECT ';'; B", ["SELECT ';'", "B"]),
        ("SELECT 'it''s;'; B", ["SELECT 'it''s;'", "B"]),
        ("SELECT '\\'; B", ["SELECT '\\'", "B"]),
        ("SELECT E'\\';'; B", ["SELECT E'\\';'", "B"]),
        ("SELECT E'a''b\\\\'; B", ["SELECT E'a''b\\\\'", "B"]),
        ("SELECT somE'\\'; B", ["SELECT somE'\\'", "B"]),
        ('CREATE ROLE "a;""b"; B', ['CREATE ROLE "a;""b"', "B"]),
        ("DO $$ a; b; $$; B", ["DO $$ a; b; $$", "B"]),
        ("DO $x$ a; $$ b; $y$ $x$; B", ["DO $x$ a; $$ b; $y$ $x$", "B"]),
        ("SELECT a$b; c$b; B", ["SELECT a$b", "c$b", "B"]),
        ("SELECT $1; B", ["SELECT $1", "B"]),
        ("A -- c; d\n; B", ["A -- c; d", "B"]),
        ("A /* ; /* ; */ ; */ x; B", ["A /* ; /* ; */ ; */ x", "B"]),
        ("CREATE RULE r AS ON INSERT TO t DO (A; B); C", ["CREATE RULE r AS ON INSERT TO t DO (A; B)", "C"]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END; B",
            [
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END",
                "B",
            ],
        ),
    ],
)
def test_split(text: str, statements: list[str]) -> None:
    """A semicolon ends a statement unless it stands in quotes, comments, parentheses or a function's body."""
    assert split(text) == statements


@pytest.mark.parametrize("text", ["'", "A '", 'A "', "E'\\'", "$$ a", "$x$ a $y$", "/* a", "/* /* */"])
def test_open_quotes_are_refused(text: str) -> None:
    """What does not end is refused rather than guessed at."""
    with pytest.raises(InvalidRequestError, match="does not end"):
        split(text)


@pytest.mark.parametrize(
    "text",
    ["COMMIT", "begin", "/* x */ Rollback", "-- y\nEND", "SELECT 1; ABORT", "START TRANSACTION", "PREPARE x"],
)
def test_transactions_are_ours(text: str) -> None:
    """A statement that would end the fenced transaction is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="transaction"):
        prepare([text], ["name"])


def test_unknown_placeholder() -> None:
    """A placeholder that nothing fills is refused; the text of it is not repeated."""
    with pytest.raises(InvalidRequestError) as caught:
        prepare(["CREATE ROLE {{secret}}"], ["name"])
    assert "secret" not in str(caught.value)


def test_fill() -> None:
    """Every known form of a placeholder is filled, and a value is never read as a placeholder."""
    values = {"name": "{{password}}", "password": "p"}
    assert fill(prepare(["A {{name}} {{ password }} -- c"], values), values) == "A {{password}} p -- c\n;\n"


@pytest.mark.parametrize("name", ["", "a" * 64, 'a"b', "a b", "a;b", "é", "a\n", "a$b", "a'b"])
def test_bad_names(name: str) -> None:
    """A name outside the safe alphabet is refused."""
    with pytest.raises(InvalidRequestError):
        require_name(name)


@pytest.mark.parametrize("password", ["", "a'b", 'a"b', "a\\b", "a$b", "a\nb", "a\0b"])
def test_bad_clear_passwords(password: str) -> None:
    """A clear password that could end a quote or a dollar quote is refused."""
    with pytest.raises(InvalidRequestError):
        require_password(password, is_clear=True)


@given(st.text(max_size=40), st.binary(min_size=16, max_size=16))
def test_verifier_ends_no_quote(password: str, salt: bytes) -> None:
    """A verifier, whatever the password, is inert in quotes of every kind."""
    made = require_password(verifier(password, salt, iterations=1), is_clear=False)
    for quoted in (f"SELECT '{made}'; B", f"DO $$ {made} $$; B", f"DO $SCRAM$ {made} $SCRAM$; B"):
        assert split(quoted)[1:] == ["B"]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_literal_is_one_token(text: str) -> None:
    """A constant is one constant, whatever is in it."""
    assert split(f"SELECT {literal(text)}; B")[1:] == ["B"]


async def test_literal_is_its_text(case: Any) -> None:
    """The target reads a constant back as the text it was made of, with standard strings on or off."""
    hostile = "a'b\\'c\"$$;{}\n☃"
    async with case.superuser() as connection:
        for setting in ("on", "off"):
            await connection.execute(
                f"SET standard_conforming_strings = {setting}; SET escape_string_warning = off"
            )
            assert await connection.fetchval(f"SELECT {literal(hostile)}") == hostile


def test_nul_is_refused() -> None:
    """No text of the target's holds a NUL."""
    with pytest.raises(InvalidRequestError):
        literal("a\0b")


def test_names_array() -> None:
    """Names are quoted in an array: NULL is a name."""
    assert names_array(["NULL", "a-b"]) == '{"NULL","a-b"}'


def test_timestamp() -> None:
    """Times are UTC with their zone, and a time without one is refused."""
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05.000000+00:00"
    with pytest.raises(InvalidRequestError):
        timestamp(datetime(2026, 1, 2))  # noqa: DTZ001 - the point
