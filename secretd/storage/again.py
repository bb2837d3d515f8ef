"""Whole transactions that Postgres gave up for another's sake are run again; nothing else ever is."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from secretd.sdk.errors import StorageConflictError

P = ParamSpec("P")
T = TypeVar("T")
_PAUSES = (0.01, 0.03, 0.1, 0.3)  # seconds, jittered


def again_after_conflict(deed: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A deed that is one transaction or statement, repeated after a deadlock or a failed serialisation.

    Those are definite answers: it was rolled back. Ends of a token, of its mount and of a prefix reach the same
    leases by different ways, so Postgres may have to choose one of them; its caller asked for an end all the same.
    """

    @functools.wraps(deed)
    async def persist(*args: P.args, **kwargs: P.kwargs) -> T:
        for pause in _PAUSES:
            try:
                return await deed(*args, **kwargs)
            except StorageConflictError:
                await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
        return await deed(*args, **kwargs)

    return persist
