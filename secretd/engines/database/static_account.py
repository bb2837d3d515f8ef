"""A static role's account: where its rotation is kept, and who sets its password."""

from __future__ import annotations

from datetime import timedelta

from secretd.engines.database.account import Account, Held, Means
from secretd.engines.database.connections import missing
from secretd.engines.database.roles import bits_of, is_allowed, require_strong
from secretd.engines.database.schemas import Connection, StaticRole, config_key, static_key
from secretd.sdk.engine import System
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.fields import Sensitive
from secretd.sdk.storage import View, decode, find, save


class StaticAccount(Account):
    """A static role's account."""

    def __init__(self, system: System, view: View, name: str) -> None:
        super().__init__(system, view)
        self.name = name
        self.what = what(name)

    async def read(self, view: View) -> Held | None:
        """The role."""
        entry = await view.get(static_key(self.name))
        if entry is None:
            return None
        role = decode(entry.value, StaticRole)
        return Held(role.rotation, role, (entry.version,), role.rotation.due_time)

    async def write(self, view: View, held: Held) -> None:
        """The role."""
        await save(view, static_key(self.name), held.record, version=held.versions[0])

    async def means(self) -> Means:
        """The connection's admin sets it."""
        role = await find(self.view, static_key(self.name), StaticRole)
        if role is None:
            raise NotFoundError
        connection = await find_connection(self.view, self.name, role.db_name)
        policy = role.password_policy or connection.password_policy
        require_strong(connection, await bits_of(self.system, policy))
        return Means(connection.target_id, connection.target, role.username, role.rotation_statements, policy)

    async def adopt(self, held: Held, password: Sensitive) -> None:
        """The next rotation is a period after this one."""
        schedule_next(held.record)


def what(name: str) -> str:
    """The name of a static role's rotation in the schedule."""
    return f"static.{name}"


async def find_connection(view: View, name: str, db_name: str) -> Connection:
    """The connection of a role; InvalidRequestError if it is not there or does not serve the role."""
    connection = await find(view, config_key(db_name), Connection)
    if connection is None:
        raise missing(db_name)
    if not is_allowed(name, connection.allowed_roles):
        raise InvalidRequestError(
            f'"{name}" is not an allowed role', hint=f"add it to allowed_roles of config/{db_name}"
        )
    return connection


def schedule_next(role: StaticRole) -> None:
    """A period after the last rotation that was proved."""
    last = role.rotation.last_time
    if last is not None:
        role.rotation.schedule(last + timedelta(seconds=role.period))
