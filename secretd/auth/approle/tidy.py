"""Timed work: secret ids that have expired, and those that a deleted role left."""

from __future__ import annotations

from datetime import datetime

from secretd.auth.approle.schemas import Role, SecretId, role_key, secret_key
from secretd.auth.approle.secret_ids import is_over, now, remove
from secretd.sdk.engine import Mount, System, Timer
from secretd.sdk.storage import View, find

_PAGE = 200


async def tidy_secret_ids(system: System, view: View, mount: Mount) -> None:
    """Remove what no login can use any more."""
    folders = await view.list(
        "secret/"
    )  # before the roles: what belongs to a role that is new then is not in it
    roles = [await find(view, role_key(name), Role) for name in await view.list("role/")]
    living = {role.id: role for role in roles if role is not None}
    for folder in folders:
        role = living.get(folder.rstrip("/"))
        if role is not None:
            await _tidy_role(system, view, role)
            continue
        # Made while its role was being deleted: nothing reaches it.
        await view.delete_prefix(f"secret/{folder}")
        await view.delete_prefix(f"accessor/{folder}")


async def _tidy_role(system: System, view: View, role: Role) -> None:
    last, time = "", await now(system)
    while True:
        found = await view.list(f"secret/{role.id}/", after=last, limit=_PAGE)
        for hashed in found:
            await _tidy_one(view, role, hashed, time=time)
        if len(found) < _PAGE:
            return
        last = found[-1]


async def _tidy_one(view: View, role: Role, hashed: str, *, time: datetime) -> None:
    key = secret_key(role, hashed)
    async with view.transaction() as inside:
        secret = await find(inside, key, SecretId)
        if secret is not None and is_over(secret, time):
            await remove(inside, role, key, secret)


TIDY_SECRET_IDS = Timer("tidy-secret-ids", 3600, tidy_secret_ids)
