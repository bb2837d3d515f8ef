"""Users and their logins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from secretd.auth.userpass import passwords
from secretd.auth.userpass.engine import ENGINE
from secretd.auth.userpass.schemas import User
from secretd.sdk.errors import InvalidRequestError, NotFoundError, RateLimitedError
from secretd.sdk.fields import Sensitive
from secretd.sdk.request import DELETE, LIST, READ, UPDATE
from secretd.sdk.storage import find
from support.mounted import Mounted, mounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from secretd.sdk.response import Auth


@pytest.fixture
async def userpass(storage_dsn: str) -> AsyncIterator[Mounted]:
    """An empty userpass mount."""
    async with mounted(ENGINE, storage_dsn) as mount:
        yield mount


async def _log_in(userpass: Mounted, name: str, password: str) -> Auth:
    login = (await userpass.ask(UPDATE, f"login/{name}", password=password)).login
    assert login is not None
    return login


async def test_the_right_password_makes_a_token(userpass: Mounted) -> None:
    """With the user's policies and spans, a display name of mount and user, and the user's key to lock."""
    await userpass.ask(
        UPDATE, "users/bob", password="correct horse", token_policies="b,A,b", token_ttl="1h",
        token_max_ttl="2h", token_period=60, token_num_uses=3, token_explicit_max_ttl=7000,
        token_no_default_policy=True,
    )  # fmt: skip
    login = await _log_in(userpass, "bob", "correct horse")
    assert (login.display_name, login.alias_name, login.role_key) == ("here-bob", "bob", "user/bob")
    assert login.metadata == {"username": "bob"}
    assert (login.policies, login.no_default_policy) == (("a", "b"), True)
    assert (login.ttl, login.max_ttl, login.period, login.num_uses) == (3600, 7200, 60, 3)
    assert login.explicit_max_ttl == 7000


async def test_every_refusal_is_the_same(userpass: Mounted) -> None:
    """Unknown user, wrong password, a name that is none, too long a password: one sentence."""
    await userpass.ask(UPDATE, "users/bob", password="x" * 72)
    tries = [
        ("nobody", "y"),
        ("bob", "wrong"),
        (" bob", "x" * 72),
        ("bob", "x" * 73),
        ("b\N{KELVIN SIGN}", "y"),
    ]
    for name, password in tries:
        with pytest.raises(InvalidRequestError, match=r"^invalid username or password$"):
            await _log_in(userpass, name, password)
    await _log_in(userpass, "bob", "x" * 72)


async def test_nobody_costs_as_much_as_somebody(userpass: Mounted, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown user's password is compared, too, with a hash of the same cost."""
    costs: list[bytes] = []
    real = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda raw, known: costs.append(known[:7]) or real(raw, known))
    await userpass.ask(UPDATE, "users/bob", password="x")
    for name in ("bob", "nobody"):
        with pytest.raises(InvalidRequestError):
            await _log_in(userpass, name, "y")
    assert costs == [f"$2b${passwords.ROUNDS}$".encode()] * 2


async def test_names_have_one_spelling(userpass: Mounted) -> None:
    """Case does not matter; spaces, slashes' kin and letters outside ASCII are refused."""
    await userpass.ask(UPDATE, "users/Bob", password="x")
    await _log_in(userpass, "BOB", "x")
    assert (await userpass.data(LIST, "users"))["keys"] == ["bob"]
    for name in (" bob", "bob ", "b\x00b", "bób", "-bob", "x" * 129):
        with pytest.raises(InvalidRequestError, match="a username has"):
            await userpass.ask(UPDATE, f"users/{name}", password="x")


async def test_a_read_answers_as_vault(userpass: Mounted) -> None:
    """No hash; ``policies`` appears for those who wrote it."""
    await userpass.ask(UPDATE, "users/bob", password="x", policies="b,a", ttl="1h")
    data = await userpass.data(READ, "users/bob")
    assert data == {
        "policies": ["a", "b"], "token_policies": ["a", "b"], "token_ttl": 3600, "token_max_ttl": 0,
        "token_period": 0, "token_explicit_max_ttl": 0, "token_num_uses": 0, "token_type": "default",
        "token_no_default_policy": False, "token_bound_cidrs": [], "token_strictly_bind_ip": False,
    }  # fmt: skip
    await userpass.ask(UPDATE, "users/bob", token_policies=["c"])
    data = await userpass.data(READ, "users/bob")
    assert "policies" not in data
    assert (data["token_policies"], data["token_ttl"]) == (["c"], 3600)


async def test_password_and_policies_have_paths_of_their_own(userpass: Mounted) -> None:
    """The old password ends with the new one; unknown users are not made there."""
    await userpass.ask(UPDATE, "users/bob", password="old")
    await userpass.ask(UPDATE, "users/bob/password", password="new")
    await userpass.ask(UPDATE, "users/bob/policies", policies="p")
    assert (await _log_in(userpass, "bob", "new")).policies == ("p",)
    with pytest.raises(InvalidRequestError):
        await _log_in(userpass, "bob", "old")
    for path in ("users/none/password", "users/none/policies"):
        with pytest.raises(InvalidRequestError, match="username does not exist"):
            await userpass.ask(UPDATE, path, password="x", policies="p")


async def test_a_hash_made_elsewhere_is_taken(userpass: Mounted) -> None:
    """Vault's ``$2a$`` among them; what is no hash, or costs too little or too much, is refused."""
    hashed = bcrypt.hashpw(b"moved", bcrypt.gensalt(10, prefix=b"2a")).decode()
    await userpass.ask(UPDATE, "users/bob", password_hash=hashed)
    await _log_in(userpass, "bob", "moved")
    for bad in ("$2a$10$abc", hashed.replace("$10$", "$04$"), hashed.replace("$10$", "$31$"), hashed + "\n"):
        with pytest.raises(InvalidRequestError, match="password_hash"):
            await userpass.ask(UPDATE, "users/bob", password_hash=bad)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "either password"),
        ({"password": ""}, "either password"),
        ({"password": "x" * 73}, "72 bytes"),
        ({"password": "ä" * 37}, "72 bytes"),
        ({"password": 5}, "password"),
        ({"password": "x", "password_hash": "y"}, "exclude"),
        ({"password": "x", "token_ttl": "3h", "token_max_ttl": "2h"}, "cannot be greater"),
        ({"password": "x", "token_period": -1}, "token_period"),
        ({"password": "x", "token_num_uses": -1}, "token_num_uses"),
        ({"password": "x", "token_type": "batch"}, "token_type"),
        ({"password": "x", "token_policies": "Root"}, "root"),
        ({"password": "x", "token_bound_cidrs": "10.0.0.0/8"}, "token_bound_cidrs"),
        ({"password": "x", "token_strictly_bind_ip": True}, "token_strictly_bind_ip"),
    ],
)
async def test_bad_users_are_refused_with_nothing_stored(
    userpass: Mounted, fields: dict[str, Any], reason: str
) -> None:
    """The error names the field; limits that are not enforced are not accepted."""
    with pytest.raises(InvalidRequestError, match=reason):
        await userpass.ask(UPDATE, "users/bob", **fields)
    assert not await userpass.exists("users/bob")


async def test_a_user_that_is_gone(userpass: Mounted) -> None:
    """Reads are 404, deleting twice is fine, the login is refused."""
    await userpass.ask(UPDATE, "users/bob", password="x")
    for _ in range(2):
        assert (await userpass.ask(DELETE, "users/bob")).is_empty
    with pytest.raises(NotFoundError):
        await userpass.ask(READ, "users/bob")
    with pytest.raises(InvalidRequestError, match="invalid username or password"):
        await _log_in(userpass, "bob", "x")


async def test_the_stored_user_shows_nothing(userpass: Mounted) -> None:
    """The hash is in no repr."""
    await userpass.ask(UPDATE, "users/bob", password="x")
    user = await find(userpass.view, "user/bob", User)
    assert user is not None
    assert user.password_hash.reveal().startswith("$2b$")
    assert "$2b$" not in repr(user)


async def test_a_flood_of_logins_is_turned_away() -> None:
    """Beyond the places, 429 at once; the places come back, also of those who left."""
    threads = passwords._Threads()
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    waiting = [asyncio.create_task(threads.run(wait)) for _ in range(passwords.MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitedError):
        await threads.run(lambda: None)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    extra = asyncio.create_task(threads.run(lambda: None))
    gate.set()
    await asyncio.gather(extra, *waiting)


async def test_a_missing_password_is_said_so(userpass: Mounted) -> None:
    """It tells nothing about the user."""
    with pytest.raises(InvalidRequestError, match="missing password"):
        await userpass.ask(UPDATE, "login/bob")
    assert await passwords.matches(Sensitive("x"), None) is False
