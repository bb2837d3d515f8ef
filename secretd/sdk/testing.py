"""Contract suites: what every plugin must hold, written once and inherited by each plugin's tests.

``class TestTarget(DatabaseContract)`` with a fixture ``case`` that yields a :class:`DatabaseCase` on a real
target runs them all. Nothing here imports a test framework: pytest with pytest-asyncio collects it.
"""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

from secretd.sdk.errors import TargetError, TargetUnavailableError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import (
    ChangePassword,
    DatabasePlugin,
    DoomedUser,
    NewUser,
    Recipe,
    RenewUser,
    Verdict,
)

_HOUR = timedelta(hours=1)
_PATIENCE = 20.0  # seconds for a clock that has less than one to go


class DatabaseCase(ABC):
    """One plugin on one real target. Names that it hands out are its own on that target."""

    plugin: DatabasePlugin
    config: dict[str, Any]
    recipe: Recipe = Recipe()
    prefix: str = "v-contract-"

    @abstractmethod
    async def list_accounts(self) -> set[str]:
        """Accounts with our prefix, seen without the plugin."""

    @abstractmethod
    def holding(self, user: NewUser) -> AbstractAsyncContextManager[None]:
        """Inside, the plugin's CREATE of this user is under way: its lock is taken, nothing is committed."""

    @abstractmethod
    async def spoil(self, name: str) -> None:
        """Make this account one that the admin cannot remove."""

    @abstractmethod
    def session(self, name: str, password: Sensitive) -> AbstractAsyncContextManager[Session]:
        """A login of that account, open meanwhile."""

    @abstractmethod
    async def said(self) -> str:
        """All that plugin and target have logged."""

    def name(self) -> str:
        """A name that was never used."""
        return self.prefix + secrets.token_hex(8)

    def user(self, moment: datetime, **changes: Any) -> NewUser:
        """A user to create, an hour from its end and ten seconds from its deadline, as seen at ``moment``."""
        facts: dict[str, Any] = {
            "name": self.name(),
            "password": Sensitive(secrets.token_urlsafe(18)),
            "recipe": self.recipe,
            "fence_key": secrets.randbits(64) - 2**63,
            "target_deadline": moment + timedelta(seconds=10),
            "valid_until": moment + _HOUR,
        }
        return NewUser(**(facts | changes))

    async def now(self) -> datetime:
        """The target's clock."""
        return (await self.plugin.verify(self.config)).clock

    async def create(self, **changes: Any) -> NewUser:
        """Create a user and return it."""
        user = self.user(await self.now(), **changes)
        await self.plugin.create_user(self.config, user)
        return user

    async def delete(self, *users: NewUser, was_issued: bool = True) -> tuple[Verdict, ...]:
        """End these users."""
        return await self.plugin.delete_users(self.config, doomed(users, was_issued=was_issued))

    async def probe(self, user: NewUser) -> bool:
        """Whether the user can log in."""
        return await self.plugin.probe(self.config, user.name, user.password)


class Session(ABC):
    """An open login."""

    @abstractmethod
    async def works(self) -> bool:
        """Whether another statement runs."""


def doomed(users: Sequence[NewUser], *, was_issued: bool) -> tuple[DoomedUser, ...]:
    """What a revoker knows of these users."""
    return tuple(
        DoomedUser(
            name=user.name,
            recipe=user.recipe,
            fence_key=user.fence_key,
            target_deadline=user.target_deadline,
            was_issued=was_issued,
        )
        for user in users
    )


class DatabaseContract:
    """The promises of ``DatabasePlugin``, one test each."""

    async def test_created_user_logs_in(self, case: DatabaseCase) -> None:
        """What create_user made is accepted by the target, and another password is not."""
        user = await case.create()
        _hold(await case.probe(user), "the account cannot log in")
        wrong = await case.plugin.probe(case.config, user.name, Sensitive("wrong"))
        _hold(not wrong, "a wrong password was accepted")

    async def test_user_expires(self, case: DatabaseCase) -> None:
        """The target itself refuses an account whose valid_until has passed."""
        user = await case.create(valid_until=await case.now() - timedelta(minutes=1))
        _hold(not await case.probe(user), "an expired account was accepted")

    async def test_deleted_user_is_gone(self, case: DatabaseCase) -> None:
        """After the verdict absent the account is not there and cannot log in."""
        user = await case.create()
        (verdict,) = await case.delete(user)
        _hold(verdict.outcome == "absent" and verdict.past, f"{verdict.outcome} {verdict.error}")
        _hold(user.name not in await case.list_accounts(), "the account is there")
        _hold(not await case.probe(user), "the account can log in")

    async def test_delete_twice(self, case: DatabaseCase) -> None:
        """Deleting again is a success: absent is the end that was asked for."""
        user = await case.create()
        first, second = await case.delete(user), await case.delete(user)
        _hold(first[0].outcome == second[0].outcome == "absent", f"{first} {second}")

    async def test_delete_the_unknown(self, case: DatabaseCase) -> None:
        """An account that never was is absent, whether its lease was activated or not."""
        users = [case.user(await case.now() - _HOUR) for _ in range(2)]
        verdicts = await case.delete(users[0]) + await case.delete(users[1], was_issued=False)
        _hold([v.outcome for v in verdicts] == ["absent", "absent"], f"{verdicts}")

    async def test_batch_with_one_bad_member(self, case: DatabaseCase) -> None:
        """One member that cannot be removed costs the others nothing; verdicts come in the order asked."""
        users = [await case.create() for _ in range(4)]
        await case.spoil(users[2].name)
        verdicts = await case.delete(*users)
        _hold([v.name for v in verdicts] == [user.name for user in users], "order")
        _hold([v.outcome == "absent" for v in verdicts] == [True, True, False, True], f"{verdicts}")
        _hold(bool(verdicts[2].error), "a failure without an error class")
        _hold(await case.list_accounts() == {users[2].name}, "the wrong accounts are left")

    async def test_open_sessions_end(self, case: DatabaseCase) -> None:
        """A session that was open cannot run another statement once the account is absent."""
        user = await case.create()
        async with case.session(user.name, user.password) as session:
            _hold(await session.works(), "the session does not work at all")
            (verdict,) = await case.delete(user)
            _hold(verdict.outcome == "absent" and verdict.sessions_ended == 1, f"{verdict}")
            _hold(not await session.works(), "the session outlived its account")

    async def test_late_create_is_refused(self, case: DatabaseCase) -> None:
        """A CREATE that begins after its deadline is refused definitely and leaves nothing."""
        user = case.user(await case.now() - _HOUR)
        error = await _error_of(case.plugin.create_user(case.config, user))
        _hold(isinstance(error, TargetError) and not isinstance(error, TargetUnavailableError), f"{error!r}")
        _hold(await case.list_accounts() == set(), "a late CREATE made an account")

    async def test_busy_while_create_is_held(self, case: DatabaseCase) -> None:
        """While a CREATE is uncommitted its lease is busy, never absent; afterwards the account is found."""
        user = case.user(await case.now())
        async with case.holding(user):
            (verdict,) = await case.delete(user, was_issued=False)
            _hold(verdict.outcome == "busy", f"{verdict}")
        _hold(await case.list_accounts() == {user.name}, "the held CREATE did not commit")
        (verdict,) = await case.delete(user, was_issued=False)
        _hold(verdict.outcome == "absent", f"{verdict}")
        _hold(await case.list_accounts() == set(), "the account is there")

    async def test_absence_counts_only_past_the_deadline(self, case: DatabaseCase) -> None:
        """Before the deadline absent comes without past: a CREATE may be on its way yet."""
        moment = await case.now()
        user = case.user(moment, target_deadline=moment + timedelta(seconds=0.7))
        (verdict,) = await case.delete(user, was_issued=False)
        _hold(verdict.outcome == "absent" and not verdict.past, f"{verdict}")
        async with asyncio.timeout(_PATIENCE):
            while not verdict.past:
                (verdict,) = await case.delete(user, was_issued=False)
        _hold(verdict.outcome == "absent" and verdict.past, f"{verdict}")

    async def test_renew_moves_forward_only(self, case: DatabaseCase) -> None:
        """A renewal secures its time; an older one, come late, takes nothing back."""
        user = await case.create()
        later = user.valid_until + _HOUR
        for wanted in (later, user.valid_until):
            renewal = RenewUser(
                name=user.name, recipe=user.recipe, fence_key=user.fence_key, valid_until=wanted
            )
            _hold(await case.plugin.renew_user(case.config, renewal) >= later, "an older renewal cut a newer")

    async def test_renew_never_creates(self, case: DatabaseCase) -> None:
        """Renewing an account that is gone is a definite refusal, and leaves it gone."""
        user = case.user(await case.now())
        renewal = RenewUser(
            name=user.name, recipe=user.recipe, fence_key=user.fence_key, valid_until=user.valid_until
        )
        error = await _error_of(case.plugin.renew_user(case.config, renewal))
        _hold(isinstance(error, TargetError), f"{error!r}")
        _hold(await case.list_accounts() == set(), "a renewal made an account")

    async def test_change_password(self, case: DatabaseCase) -> None:
        """The new password is accepted and the old one is not; an unknown account is refused."""
        user = await case.create()
        change = ChangePassword(
            name=user.name,
            password=Sensitive(secrets.token_urlsafe(18)),
            fence_key=user.fence_key,
            target_deadline=user.target_deadline,
        )
        await case.plugin.change_password(case.config, change)
        _hold(not await case.probe(user), "the old password is accepted")
        _hold(await case.plugin.probe(case.config, user.name, change.password), "the new password is refused")
        await case.delete(user)
        error = await _error_of(case.plugin.change_password(case.config, change))
        _hold(isinstance(error, TargetError), f"{error!r}")
        _hold(await case.list_accounts() == set(), "a change of password made an account")

    async def test_list_users(self, case: DatabaseCase) -> None:
        """Accounts are listed by prefix, with their end."""
        user = await case.create()
        (found,) = await case.plugin.list_users(case.config, case.prefix)
        _hold(found.name == user.name and found.can_login, f"{found}")
        _hold(found.valid_until == user.valid_until, f"{found}")
        _hold(await case.plugin.list_users(case.config, case.prefix + "x") == (), "another prefix")

    async def test_password_is_never_logged(self, case: DatabaseCase) -> None:
        """No log of plugin or target, and no error, holds a password: neither the user's nor the admin's."""
        user = await case.create()
        await _error_of(case.plugin.create_user(case.config, user))  # its name is taken
        late = case.user(await case.now() - _HOUR)
        error = await _error_of(case.plugin.create_user(case.config, late))
        text = await case.said() + str(error) + repr(error)
        for secret in (user.password, late.password):
            _hold(secret.reveal() not in text, "a password was logged")
        await case.delete(user)


async def _error_of(deed: Any) -> Exception | None:
    try:
        await deed
    except Exception as error:
        return error
    return None


def _hold(fact: bool, reason: str) -> None:
    """An assert that is also there under -O and outside of a framework's rewriting."""
    if not fact:
        raise AssertionError(reason)
