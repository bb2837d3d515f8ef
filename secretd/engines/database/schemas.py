"""Shapes: what callers write, what is stored, what is frozen into a lease. Spans are seconds.

``config/{name}`` is a connection, ``role/{name}`` a role, ``target/{id}`` what revocation needs of a target.
Names keep their case.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from secretd.engines.database.rotation import Rotation
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import NAME, Duration, Sensitive, Strings
from secretd.sdk.plugin import Recipe

Statements = list[str] | str | None  # a text is one entry: commas belong to the statement


class Named(msgspec.Struct):
    """A path's name."""

    name: str


class ConnectionFields(msgspec.Struct, kw_only=True):
    """``config/{name}``: ours and the common ones; all others are the plugin's. Absent = as it was."""

    name: str
    plugin_name: str | None = None
    plugin_version: str | None = None
    connection_url: Sensitive | None = None
    username: str | None = None
    password: Sensitive | None = None
    username_template: str | None = None
    password_policy: str | None = None
    allowed_roles: Strings | None = None
    root_rotation_statements: Statements = None
    verify_connection: bool = True
    verify_roles: bool = False


OURS = frozenset({
    "name", "plugin_name", "plugin_version", "username_template", "password_policy", "allowed_roles",
    "root_rotation_statements", "verify_connection", "verify_roles",
})  # fmt: skip


class Target(msgspec.Struct, kw_only=True):
    """A target as every lease of it reaches it: always with the newest password that was written.

    ``offset`` = the target's clock minus storage's; None = never measured. ``is_unnamed`` is tidy's mark.
    ``root`` is there once the admin's own password was rotated.
    """

    connection: str
    plugin: str
    config: dict[str, Any]
    offset: float | None = None
    is_unnamed: bool = False
    root: Rotation | None = None

    def __repr__(self) -> str:
        """Without ``config``: it holds the admin's password."""
        return f"Target(connection={self.connection!r})"


class Connection(msgspec.Struct, kw_only=True):
    """What a name stands for now. ``details`` are the plugin's fields as written, secrets included.

    ``target`` repeats ``target/{target_id}``, so that a login costs one read less; both are written together.
    """

    target_id: str
    target: Target
    details: dict[str, Any]
    shown: dict[str, Any]
    allowed_roles: tuple[str, ...] = ()
    username_template: str = ""
    password_policy: str = ""
    root_rotation_statements: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without ``details``: they hold the admin's password."""
        return f"Connection(target_id={self.target_id!r})"


class CredentialConfig(msgspec.Struct, kw_only=True):
    """How a role's passwords are made."""

    password_policy: str = ""


class RoleFields(msgspec.Struct, kw_only=True):
    """``roles/{name}``. Absent = as it was."""

    name: str
    db_name: str | None = None
    creation_statements: Statements = None
    revocation_statements: Statements = None
    rollback_statements: Statements = None
    renew_statements: Statements = None
    default_ttl: Duration | None = None
    max_ttl: Duration | None = None
    credential_type: str | None = None
    credential_config: CredentialConfig | None = None
    group_role: str | None = None


class Role(msgspec.Struct, kw_only=True):
    """A recipe for logins; a TTL of 0 is the mount's."""

    db_name: str
    creation_statements: tuple[str, ...] = ()
    revocation_statements: tuple[str, ...] = ()
    rollback_statements: tuple[str, ...] = ()
    renew_statements: tuple[str, ...] = ()
    default_ttl: int = 0
    max_ttl: int = 0
    password_policy: str = ""
    group_role: str = ""

    @property
    def recipe(self) -> Recipe:
        """What is frozen into each lease."""
        return Recipe(
            creation=self.creation_statements,
            renewal=self.renew_statements,
            revocation=self.revocation_statements,
            group_role=self.group_role,
        )


class StaticFields(msgspec.Struct, kw_only=True):
    """``static-roles/{name}``. Absent = as it was."""

    name: str
    db_name: str | None = None
    username: str | None = None
    rotation_period: Duration | None = None
    rotation_schedule: str | None = None
    rotation_window: Duration | None = None
    rotation_statements: Statements = None
    credential_type: str | None = None
    credential_config: CredentialConfig | None = None
    skip_import_rotation: bool = False
    self_managed_password: Sensitive | None = None


class StaticRole(msgspec.Struct, kw_only=True):
    """An account that exists already, whose password is ours to change. ``period`` is seconds."""

    db_name: str
    username: str
    period: int
    rotation: Rotation
    rotation_statements: tuple[str, ...] = ()
    password_policy: str = ""

    def __repr__(self) -> str:
        """Without the passwords."""
        return f"StaticRole(db_name={self.db_name!r})"


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """All that a login's end needs, whatever becomes of role and connection."""

    target_id: str
    recipe: Recipe


def config_key(name: str) -> str:
    """Where a connection is stored."""
    return f"config/{name}"


def role_key(name: str) -> str:
    """Where a role is stored."""
    return f"role/{name}"


def static_key(name: str) -> str:
    """Where a static role is stored."""
    return f"static-role/{name}"


def target_key(target_id: str) -> str:
    """Where a target is stored."""
    return f"target/{target_id}"


def target_id(connection: str, plugin: str, identity: str) -> str:
    """An id that is another one for another target, and the same one for a connection that comes back.

    Derived, not drawn: a connection that was deleted and is written again, with a new password, serves the
    leases that its first life left.
    """
    whole = f"{connection}\0{plugin}\0{identity}"
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def statements(given: Statements, before: tuple[str, ...]) -> tuple[str, ...]:
    """What a write makes of a list of statements; empty texts vanish."""
    if given is None:
        return before
    texts = [given] if isinstance(given, str) else given
    return tuple(text for text in texts if text.strip())


def require_name(name: str) -> None:
    """Refuse names that templates, paths or logs would stumble over."""
    if not NAME.match(name):
        raise InvalidRequestError("a name has letters, digits, '_', '-' and '.', at most 128 of them")
