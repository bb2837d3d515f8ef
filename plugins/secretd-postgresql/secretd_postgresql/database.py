"""The contract's calls on a PostgreSQL target, each a line or two: the deeds have pages of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from secretd.sdk.errors import TargetAuthError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import (
    ChangePassword,
    DoomedUser,
    FoundUser,
    NewUser,
    Reach,
    Recipe,
    RenewUser,
    Target,
    TargetState,
    Verdict,
)
from secretd_postgresql import config as connections
from secretd_postgresql import issue, renew
from secretd_postgresql.driver import RefusedError, SilentError
from secretd_postgresql.inspect import list_users, verify
from secretd_postgresql.lint import lint
from secretd_postgresql.revoke import revoke_issued
from secretd_postgresql.statements import require_name
from secretd_postgresql.transaction import Access, refusal, silence
from secretd_postgresql.unissued import revoke_unissued

_BATCH = 100  # members in one transaction: its locks are held for milliseconds
_MAX_KEPT = 64  # configurations whose settings are remembered


class PostgresDatabase:
    """Every target of one daemon. Holds sessions, nothing else."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._known: dict[bytes, Access] = {}

    def _access(self, config: dict[str, Any]) -> Access:
        digest = connections.digest_of(config)
        access = self._known.get(digest)
        if access is None:
            self._forget_unused()
            access = self._known[digest] = Access(connections.settings_of(config), self._reach)
        return access

    def _forget_unused(self) -> None:
        if len(self._known) >= _MAX_KEPT:
            self._known = {
                digest: access for digest, access in self._known.items() if not access.pool.is_unused
            }

    async def describe(self, config: dict[str, Any]) -> Target:
        """Understand a connection's fields."""
        return connections.describe(config)

    async def lint(self, config: dict[str, Any], recipe: Recipe) -> tuple[str, ...]:
        """Judge a role's statements."""
        return lint(recipe)

    async def verify(self, config: dict[str, Any]) -> TargetState:
        """Log in as the admin and look."""
        return await verify(self._access(config))

    async def create_user(self, config: dict[str, Any], user: NewUser) -> None:
        """Create once, under lock and clock."""
        await issue.create_user(self._access(config), user)

    async def renew_user(self, config: dict[str, Any], user: RenewUser) -> datetime:
        """Move VALID UNTIL forward."""
        return await renew.renew_user(self._access(config), user)

    async def change_password(self, config: dict[str, Any], change: ChangePassword) -> None:
        """Set another password, under lock and clock."""
        await issue.change_password(self._access(config), change)

    async def delete_users(
        self, config: dict[str, Any], users: tuple[DoomedUser, ...]
    ) -> tuple[Verdict, ...]:
        """End accounts: the issued in batches, the others one by one. One verdict a member, in order."""
        access = self._access(config)
        for user in users:
            require_name(user.name)
        try:
            verdicts = await _delete(access, users)
        except RefusedError as error:
            raise refusal(error) from None
        except SilentError as error:
            raise silence(error) from None
        return tuple(verdicts[user.name] for user in users)

    async def list_users(self, config: dict[str, Any], prefix: str) -> tuple[FoundUser, ...]:
        """Accounts whose name begins with the prefix."""
        return await list_users(self._access(config), prefix)

    async def probe(self, config: dict[str, Any], username: str, password: Sensitive) -> bool:
        """Whether the target lets this login in."""
        try:
            link = await self._access(config).dialer.open(user=username, password=password.reveal())
        except TargetAuthError:
            return False
        await link.close()
        return True

    async def close(self) -> None:
        """Give every session back."""
        known, self._known = self._known, {}
        async with asyncio.TaskGroup() as tasks:
            for access in known.values():
                tasks.create_task(access.pool.close())


async def _delete(access: Access, users: Sequence[DoomedUser]) -> dict[str, Verdict]:
    issued = [user for user in users if user.was_issued]
    verdicts: dict[str, Verdict] = {}
    for begin in range(0, len(issued), _BATCH):
        for verdict in await revoke_issued(access, issued[begin : begin + _BATCH]):
            verdicts[verdict.name] = verdict
    for user in users:
        if not user.was_issued:
            verdicts[user.name] = await revoke_unissued(access, user)
    return verdicts
