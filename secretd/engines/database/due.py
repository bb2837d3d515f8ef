"""Timed work: rotations that are due, and turns that a daemon did not finish.

Any daemon may run it at any time, several at once: the first write of a turn decides whose it is. What fails
comes again after its own wait and keeps nothing else from its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

from secretd.engines.database.account import rotate
from secretd.engines.database.root import RootAccount
from secretd.engines.database.schedule import is_key_of, list_due, move, storage_now
from secretd.engines.database.static_account import StaticAccount
from secretd.sdk.engine import Mount, System, Timer
from secretd.sdk.errors import ConflictError, InvalidRequestError, NotFoundError, SecretdError, TargetError
from secretd.sdk.storage import View

_AT_ONCE = 8
_BATCH = 64
_LIMIT = 30.0  # seconds for one look: other mounts wait for it; claims of what it leaves come to an end


async def rotate_due(system: System, view: View, _: Mount) -> None:
    """One turn of whatever is due."""
    due = await list_due(view, await storage_now(system), limit=_BATCH)
    places = asyncio.Semaphore(_AT_ONCE)
    errors: list[SecretdError] = []

    async def one(moment: datetime, what: str) -> None:
        async with places:
            try:
                await _turn(system, view, moment, what)
            except (ConflictError, TargetError, InvalidRequestError):
                return  # another daemon's, or noted in the entry
            except SecretdError as error:  # storage: the whole look is tried again
                errors.append(error)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LIMIT), asyncio.TaskGroup() as tasks:
            for moment, what in due:
                tasks.create_task(one(moment, what))
    if errors:
        raise errors[0]


async def _turn(system: System, view: View, moment: datetime, what: str) -> None:
    kind, _, name = what.partition(".")
    account = RootAccount(system, view, name) if kind == "root" else StaticAccount(system, view, name)
    try:
        await rotate(account, only_due=True)
    except NotFoundError:  # deleted; a key that stayed would come first for ever
        await move(view, what, before=moment, after=None)
    except ConflictError:
        held = await account.read(view)
        if held is None or not is_key_of(held.due_before, moment):
            await move(view, what, before=moment, after=None)
        raise


ROTATE_DUE = Timer("rotate-due", 5, rotate_due)
