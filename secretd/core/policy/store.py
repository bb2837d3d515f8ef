"""Policies behind the barrier, compiled once a generation. What grants is never cached by time."""

from __future__ import annotations

from secretd.core.policy.acl import ROOT, Acl, compile_acl
from secretd.core.policy.builtin import DEFAULT, DEFAULT_TEXT, require_deletable, require_writable
from secretd.core.policy.model import Policy
from secretd.core.policy.parse import parse_policy
from secretd.core.policy.password import (
    PasswordPolicy,
    entropy_bits,
    generate_password,
    parse_password_policy,
)
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool, Runner
from secretd.storage.view import EntryView

_ACL, _PASSWORD = "policies/acl/", "policies/password/"
_ROOT_ACL = Acl((), is_root=True)
_MOST_ACLS = 1000  # sets of policies kept compiled; a set is a tuple of names


class PolicyStore:
    """ACL and password policies. :meth:`forget` drops what an older generation compiled."""

    def __init__(self, pool: Pool, barrier: Barrier) -> None:
        self._pool = pool
        self._barrier = barrier
        self._policies: dict[str, Policy | None] = {}
        self._acls: dict[tuple[str, ...], Acl] = {}

    def forget(self) -> None:
        """Another generation began."""
        self._policies = {}
        self._acls = {}

    async def acl(self, names: tuple[str, ...]) -> Acl:
        """The compiled sum of these policies; a name without a policy grants nothing."""
        if ROOT in names:
            return _ROOT_ACL
        found = self._acls.get(names)
        if found is None:
            policies, acls = self._policies, self._acls
            loaded = [await self._find_compiled(policies, name) for name in names]
            found = compile_acl(policy for policy in loaded if policy is not None)
            if len(acls) < _MOST_ACLS:
                acls[names] = found  # into the dict of the generation that we read under
        return found

    async def _find_compiled(self, policies: dict[str, Policy | None], name: str) -> Policy | None:
        if name not in policies:
            text = await self.find(name)
            policies[name] = None if text is None else parse_policy(name, text)
        return policies[name]

    async def find(self, name: str) -> str | None:
        """An ACL policy's text, byte for byte."""
        entry = await self._view().get(_ACL + name)
        return None if entry is None else entry.value.decode()

    async def list_names(self) -> list[str]:
        """ACL policies, ``root`` included."""
        return sorted([*await self._view().list(_ACL), ROOT])

    async def write(self, name: str, text: str) -> None:
        """Store an ACL policy; InvalidRequestError with the line if it does not parse."""
        require_writable(name)
        parse_policy(name, text)
        async with self._pool.transaction() as runner:
            await self._view(runner).put(_ACL + name, text.encode())
            await runner.execute("bump_policies", 0)

    async def delete(self, name: str) -> None:
        """Remove an ACL policy."""
        require_deletable(name)
        async with self._pool.transaction() as runner:
            await self._view(runner).delete(_ACL + name)
            await runner.execute("bump_policies", 0)

    async def create_defaults(self, runner: Runner) -> None:
        """The ``default`` policy, at initialisation."""
        await self._view(runner).put(_ACL + DEFAULT, DEFAULT_TEXT.encode())

    async def find_password(self, name: str) -> str | None:
        """A password policy's text."""
        entry = await self._view().get(_PASSWORD + name)
        return None if entry is None else entry.value.decode()

    async def list_password_names(self) -> list[str]:
        """Password policies."""
        return await self._view().list(_PASSWORD)

    async def write_password(self, name: str, text: str) -> None:
        """Store a password policy; InvalidRequestError if no password can satisfy it."""
        parse_password_policy(text)
        await self._view().put(_PASSWORD + name, text.encode())

    async def delete_password(self, name: str) -> None:
        """Remove a password policy."""
        await self._view().delete(_PASSWORD + name)

    async def generate_password(self, name: str) -> Sensitive:
        """A password by policy."""
        return Sensitive(generate_password(await self._get_password(name)))

    async def password_bits(self, name: str) -> float:
        """Entropy in bits that a policy's passwords have."""
        return entropy_bits(await self._get_password(name))

    async def _get_password(self, name: str) -> PasswordPolicy:
        text = await self.find_password(name)
        if text is None:
            raise InvalidRequestError(
                f"there is no password policy named {name!r}", hint="write it at sys/policies/password/<name>"
            )
        return parse_password_policy(text)

    def _view(self, runner: Runner | None = None) -> EntryView:
        return EntryView(runner or self._pool, self._barrier, prefix="core/")
