"""Verifiers are PostgreSQL's own, so that the clear password is never sent."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import pytest

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd_postgresql.scram import make_verifier, verifier


async def test_target_makes_the_same(case: Any) -> None:
    """What the target computes for a password with the same salt is what we compute."""
    name = case.name()
    async with case.superuser() as connection:
        for password in ("plain", "with blank", "Ⅸ ﬁne", "naïve\u00a0blank", "\u0627\u0628"):
            await connection.execute(f"""CREATE ROLE "{name}" PASSWORD '{password}'""")
            theirs = await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", name)
            salt = base64.b64decode(theirs.split("$")[1].split(":")[1])
            assert verifier(password, salt, iterations=4096) == theirs
            await connection.execute(f'DROP ROLE "{name}"')


async def test_iterations_are_kept() -> None:
    """The verifier says how often it was hashed, and no two are alike."""
    first, second = [await make_verifier("x", iterations=7) for _ in range(2)]
    assert first.startswith("SCRAM-SHA-256$7:")
    assert first != second


async def test_few_iterations_need_many_bits(case: Any) -> None:
    """Below 4096 iterations a password is taken only when its policy yields 112 bits (issue 3, item 7)."""
    config = await case.describe(scram_iterations=64)
    password = Sensitive(secrets.token_urlsafe(21))
    user = case.user(await case.now(), password=password)
    with pytest.raises(InvalidRequestError, match="112"):
        await case.plugin.create_user(config, user)
    user = case.user(await case.now(), password=password, password_bits=168.0)
    await case.plugin.create_user(config, user)
    assert await case.probe(user)


async def test_clear_mode(case: Any) -> None:
    """Where the target insists, the password itself is sent, if its alphabet is safe."""
    config = await case.describe(password_authentication="password")
    user = case.user(await case.now())
    await case.plugin.create_user(config, user)
    assert await case.probe(user)
    with pytest.raises(InvalidRequestError, match="clear password"):
        await case.plugin.create_user(config, case.user(await case.now(), password=Sensitive("a'b")))
