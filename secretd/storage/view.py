"""A view: storage chrooted to a prefix, encrypted by the barrier. What ``sdk.storage.View`` promises."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Self

from secretd.sdk.errors import ConflictError, InvalidRequestError
from secretd.sdk.storage import ANY_VERSION, NEW, Entry
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool, Runner

_ATTEMPTS = 5  # of a blind write that others overtake
_MAX_KEY = 2000  # bytes; an index row of Postgres holds about 2,700
NO_LIMIT = 2**31 - 1


def after_prefix(prefix: str) -> str:
    """The first key behind all keys that begin with the prefix, in byte order."""
    return prefix + "\U0010ffff"


class EntryView:
    """One mount's keys. ``runner`` is the pool, or a transaction in which reads hold what they read."""

    __slots__ = ("_barrier", "_namespace_id", "_prefix", "_runner")

    def __init__(self, runner: Runner, barrier: Barrier, *, prefix: str, namespace_id: int = 0) -> None:
        self._runner = runner
        self._barrier = barrier
        self._prefix = prefix
        self._namespace_id = namespace_id

    def key(self, key: str) -> str:
        """The whole key of an entry, as the table has it."""
        return self._prefix + key

    async def get(self, key: str) -> Entry | None:
        whole = self._whole(key)
        query = "find_entry" if isinstance(self._runner, Pool) else "lock_entry"
        row = await self._runner.fetchrow(query, self._namespace_id, whole)
        if row is None:
            return None
        value, version = row
        return Entry(await self._barrier.decrypt(self._namespace_id, whole, version, value), version)

    async def put(self, key: str, value: bytes, *, version: int = ANY_VERSION) -> int:
        whole = self._whole(key)
        if version != ANY_VERSION:
            return await self._replace(whole, value, version)
        for _ in range(_ATTEMPTS):
            row = await self._runner.fetchrow("find_entry_version", self._namespace_id, whole)
            with contextlib.suppress(ConflictError):
                return await self._replace(whole, value, NEW if row is None else row[0])
        raise ConflictError

    async def _replace(self, whole: str, value: bytes, version: int) -> int:
        blob = self._barrier.encrypt(self._namespace_id, whole, version + 1, value)
        if version == NEW:
            row = await self._runner.fetchrow("insert_entry", self._namespace_id, whole, blob)
        else:
            row = await self._runner.fetchrow("update_entry", self._namespace_id, whole, blob, version)
        if row is None:
            raise ConflictError
        return int(row[0])

    async def delete(self, key: str) -> bool:
        return await self._runner.execute("delete_entry", self._namespace_id, self._whole(key)) > 0

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> list[str]:
        whole = self._whole(prefix)
        rows = await self._runner.fetch(
            "list_names", self._namespace_id, whole, after, limit or NO_LIMIT, after_prefix(whole)
        )
        return [row[0] for row in rows if row[0]]

    async def delete_prefix(self, prefix: str) -> int:
        whole = self._whole(prefix)
        return await self._runner.execute("delete_entries", self._namespace_id, whole, after_prefix(whole))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        if not isinstance(self._runner, Pool):
            yield self
            return
        async with self._runner.transaction() as transaction:
            yield type(self)(transaction, self._barrier, prefix=self._prefix, namespace_id=self._namespace_id)

    def _whole(self, key: str) -> str:
        whole = self._prefix + key
        if len(whole) > _MAX_KEY // 4 and len(whole.encode()) > _MAX_KEY:
            raise InvalidRequestError(f"a path is longer than {_MAX_KEY} bytes")
        return whole
