"""The plugin contracts: what runs on targets, out of process, without state, storage or HTTP.

A plugin package exports ``PLUGIN = Plugin(…)`` (data first, code after) under the entry-point group of
its contract. The daemon never imports it: a child process does, and answers calls over pipes.

What every plugin promises (lease-protocol.md, last table): CREATE is one target transaction that takes
the lease's lock, then checks the target's clock, then creates; ``renew_user`` never creates; absent is a
specific answer; nothing is retried in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from secretd.sdk.fields import Sensitive

SDK_VERSION = 1
Outcome = Literal["absent", "busy", "present", "error"]


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """``[targets]`` of the configuration: how far and how long a plugin may reach. Seconds; CIDR texts."""

    deadline: float = 10.0
    connect_timeout: float = 3.0
    concurrency: int = 4
    deny_networks: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that was understood, without any I/O.

    ``config`` is what to store and to pass to the calls below (secrets included: it goes behind the
    barrier), ``shown`` what a read answers (never a password), ``name`` a label for people
    (``host:5432/app``), ``identity`` what makes it another target when it changes; ``config["identity"]``,
    where a plugin sets it, lets the daemon bound the concurrency of one target across its passwords.
    """

    name: str
    identity: str
    config: dict[str, Any]
    shown: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without ``config``: it holds the admin's password."""
        return f"Target(name={self.name!r})"


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """What a login as the admin showed. ``clock`` is the target's own."""

    clock: datetime
    version: str
    is_superuser: bool
    warnings: tuple[str, ...] = ()


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A role's statements, frozen into each lease. Empty texts mean the plugin's own recipe."""

    creation: tuple[str, ...] = ()
    renewal: tuple[str, ...] = ()
    revocation: tuple[str, ...] = ()
    group_role: str = ""


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """An account to create under its fence; ``valid_until`` is on the target's clock."""

    name: str
    password: Sensitive
    recipe: Recipe
    fence_key: int  # signed 64 bit
    target_deadline: datetime
    valid_until: datetime
    password_bits: float = 0.0  # entropy of the policy that made the password; 0 = not known


class RenewUser(msgspec.Struct, frozen=True, kw_only=True):
    """Move an account's ``VALID UNTIL`` forward to ``valid_until``; never back, never create."""

    name: str
    recipe: Recipe
    fence_key: int
    valid_until: datetime


class ChangePassword(msgspec.Struct, frozen=True, kw_only=True):
    """Give an existing account another password, under lock and clock as a CREATE."""

    name: str
    password: Sensitive
    statements: tuple[str, ...] = ()
    fence_key: int
    target_deadline: datetime
    password_bits: float = 0.0


class DoomedUser(msgspec.Struct, frozen=True, kw_only=True):
    """An account to end. ``was_issued``: its lease was activated, so no CREATE can be on its way."""

    name: str
    recipe: Recipe
    fence_key: int
    target_deadline: datetime
    was_issued: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One member's verdict of ``delete_users``.

    ``absent`` was seen in a snapshot begun after the drop's commit. ``past``: the target's clock, read
    under the fence's lock, had passed the deadline (always true for an issued account). ``busy``: somebody
    holds the lock. ``error`` is an error class such as ``insufficient_privilege``, never a driver's message.
    """

    name: str
    outcome: Outcome
    past: bool = False
    sessions_ended: int = 0
    error: str = ""


class FoundUser(msgspec.Struct, frozen=True, kw_only=True):
    """An account that carries our prefix; ``valid_until`` None = no end."""

    name: str
    valid_until: datetime | None = None
    can_login: bool = True


class DatabasePlugin(Protocol):
    """Served by ``engines/database``.

    Errors: InvalidRequestError (the configuration or statements are wrong: say which field),
    TargetUnavailableError (no answer: nothing is known), TargetAuthError (the admin's login was refused),
    TargetError (a definite refusal; ``code`` of the SQLSTATE class in the message, no values).
    """

    async def describe(self, config: dict[str, Any]) -> Target:
        """Understand a connection's fields. No I/O; InvalidRequestError names the bad field."""

    async def lint(self, config: dict[str, Any], recipe: Recipe) -> tuple[str, ...]:
        """Judge a role's statements without I/O: InvalidRequestError, or warnings for the role's writer."""

    async def verify(self, config: dict[str, Any]) -> TargetState:
        """Log in as the admin and look."""

    async def create_user(self, config: dict[str, Any], user: NewUser) -> None:
        """Create once. Raises TargetError when it certainly was not created, else TargetUnavailableError."""

    async def renew_user(self, config: dict[str, Any], user: RenewUser) -> datetime:
        """Return the ``VALID UNTIL`` that was read back afterwards."""

    async def change_password(self, config: dict[str, Any], change: ChangePassword) -> None:
        """Set it; a silent end means it may happen until the deadline."""

    async def delete_users(
        self, config: dict[str, Any], users: tuple[DoomedUser, ...]
    ) -> tuple[Verdict, ...]:
        """End sessions, remove, prove. One verdict a member, in order; absent already = done."""

    async def list_users(self, config: dict[str, Any], prefix: str) -> tuple[FoundUser, ...]:
        """Accounts whose name begins with the prefix."""

    async def probe(self, config: dict[str, Any], username: str, password: Sensitive) -> bool:
        """Whether this login is accepted now. Raises TargetUnavailableError when nobody answers."""

    async def close(self) -> None:
        """Give connections back."""


Contract = Literal["database"]
StructType = type[msgspec.Struct]


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's manifest."""

    type: str  # the name on the wire, e.g. postgresql-database-plugin
    sdk: int
    contract: Contract
    config: StructType  # shape of the connection
    role: StructType  # shape of what a role adds
    factory: Callable[[Reach], DatabasePlugin]
