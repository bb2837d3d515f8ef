"""``rotate-root/{name}``: the password by which secretd itself reaches a target.

It lives in the target's record, so that leases whose connection was deleted or re-pointed meanwhile are revoked
with what was proved. The connection is written with it, and against its version: whoever writes one from an older
reading gets a conflict.
"""

from __future__ import annotations

from typing import Any

from secretd.engines.database.account import Account, Held, Means, rotate
from secretd.engines.database.connections import (
    Versioned,
    missing,
    read_target,
    root_what,
    write_target,
)
from secretd.engines.database.roles import bits_of, require_strong
from secretd.engines.database.rotation import begin
from secretd.engines.database.schemas import Connection, Named, Target, config_key
from secretd.sdk.engine import System
from secretd.sdk.errors import ConflictError, InvalidRequestError, NotFoundError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import Target as Described
from secretd.sdk.request import Call
from secretd.sdk.storage import View, find

_TEMPLATED = "connection_url with {{username}} and {{password}}, and both as fields"
Pair = tuple[Versioned[Target], Versioned[Connection] | None]


class RootAccount(Account):
    """A target's admin."""

    def __init__(self, system: System, view: View, target_id: str) -> None:
        super().__init__(system, view)
        self.target_id = target_id
        self.what = root_what(target_id)

    async def read(self, view: View) -> Held | None:
        """The target's record and, while a name stands for it, the connection."""
        target, connection = await read_target(view, self.target_id)
        if target is None:
            return None
        due_before = target.value.root.due_time if target.value.root else None
        if target.value.root is None:
            target.value.root = begin()
        root = target.value.root
        if connection is not None and root.candidate is None:
            root.current = Sensitive(_password(connection.value))
        return Held(root, (target, connection), (), due_before)

    async def write(self, view: View, held: Held) -> None:
        """Both."""
        target, connection = held.record
        await write_target(view, self.target_id, target, connection)

    async def means(self) -> Means:
        """The admin sets its own."""
        target, connection = await read_target(self.view, self.target_id)
        if target is None:
            raise NotFoundError
        if connection is None:
            raise InvalidRequestError("the connection of this target is not there any more")
        found = connection.value
        require_strong(found, await bits_of(self.system, found.password_policy))
        return Means(
            self.target_id,
            target.value,
            found.details["username"],
            found.root_rotation_statements,
            found.password_policy,
        )

    async def adopt(self, held: Held, password: Sensitive) -> None:
        """Target and connection log in with it from now on."""
        target, connection = held.record
        if connection is None:
            raise ConflictError("the connection is not there any more")
        details = connection.value.details | {"password": password.reveal()}
        described = await _describe(self, target.value, details)
        target.value.config = described.config
        connection.value.details = details
        connection.value.shown = described.shown


async def rotate_root(call: Call, fields: Named) -> None:
    """Give the admin a password that nobody else knows; finishes a rotation that was begun."""
    connection = await find(call.view, config_key(fields.name), Connection)
    if connection is None:
        raise missing(fields.name)
    account = RootAccount(call.system, call.view, connection.target_id)
    await _require_rotatable(account, connection)
    await rotate(account)


async def _require_rotatable(account: RootAccount, connection: Connection) -> None:
    """A user name, a password, and an address that takes both from the fields."""
    if not connection.details.get("username"):
        raise InvalidRequestError(
            "unable to rotate root credentials: no username in configuration", hint=_TEMPLATED
        )
    if not _password(connection):
        raise InvalidRequestError(
            "unable to rotate root credentials: no password in configuration", hint=_TEMPLATED
        )
    for field in ("username", "password"):  # another value must make another login
        details = connection.details | {field: f"{connection.details[field]}x"}
        described = await _describe(account, connection.target, details)
        if described.config == connection.target.config:
            raise InvalidRequestError(
                f"unable to rotate root credentials: connection_url holds the {field} itself", hint=_TEMPLATED
            )


async def _describe(account: RootAccount, target: Target, details: dict[str, Any]) -> Described:
    return await account.system.database_plugin(target.plugin).describe(details)


def _password(connection: Connection) -> str:
    return str(connection.details.get("password") or "")
