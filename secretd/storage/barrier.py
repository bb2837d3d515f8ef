"""The barrier: what stands between core and Postgres. Values go through it encrypted, or not at all.

1. While sealed there is no keyring, and every read or write raises SealedError.
2. A value is bound to its table, namespace, key and row version: it cannot be moved, nor passed off as
   another write of the same key. (An old *row*, version included, put back is not noticed: threat model.)
3. A term that we do not know was made by another daemon: the keyring is read again, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from secretd.crypto import aead
from secretd.crypto.keyring import Keyring, UnknownTermError
from secretd.sdk.clock import Clock
from secretd.sdk.errors import BarrierError, ConflictError, SealedError
from secretd.storage.pool import Pool, Runner

_KEYRING = "keyring"


class Barrier:
    """Encrypts and decrypts while it is open; holds the root key to wrap new keyrings with."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._keyring: Keyring | None = None
        self._root_key = b""

    @property
    def is_open(self) -> bool:
        """Whether keys are loaded."""
        return self._keyring is not None

    @property
    def keyring(self) -> Keyring:
        """The loaded keyring; raises SealedError without one."""
        if self._keyring is None:
            raise SealedError
        return self._keyring

    async def create(self, runner: Runner, root_key: bytes) -> None:
        """Store a first keyring under this root key, inside the transaction of an initialisation.

        The barrier is open afterwards, for the transaction's other writes; the caller closes it.
        """
        keyring = Keyring.generate(self._clock.now().timestamp())
        if not await runner.execute("insert_seal_record", _KEYRING, keyring.wrap(root_key)):
            raise ConflictError("the store is initialised already")
        self._keyring = keyring
        self._root_key = root_key

    async def open(self, root_key: bytes) -> None:
        """Load the keyring; BarrierError if the root key is not the one."""
        self._keyring = await self._load(root_key)
        self._root_key = root_key

    def close(self) -> None:
        """Forget the keys."""
        self._keyring = None
        self._root_key = b""

    async def reload(self) -> None:
        """Read the keyring again: another daemon rotated it."""
        if self.is_open:
            self._replace(await self._load(self._root_key))

    async def rotate(self) -> None:
        """Begin another term. Daemons notice by the generation, or by a term that they do not know."""
        async with self._pool.transaction() as transaction:
            row = await transaction.fetchrow("find_seal_record", _KEYRING)
            if row is None:
                raise BarrierError("the keyring is missing")
            stored = Keyring.unwrap(self._root_key, row["value"])
            stored = stored.with_encryptions(self.keyring.active_term, self.keyring.unsaved)
            rotated = stored.rotate(self._clock.now().timestamp())
            changed = await transaction.execute(
                "update_seal_record", _KEYRING, rotated.wrap(self._root_key), row["version"]
            )
            if not changed:
                raise ConflictError("another daemon rotated meanwhile")
            await transaction.execute("bump_keyring", 0)
        self._replace(rotated)

    def _replace(self, keyring: Keyring) -> None:
        """Take a newer keyring, unless somebody sealed while it was on its way: that is not undone."""
        if self.is_open:
            self._keyring = keyring

    async def save_count(self) -> None:
        """Add our encryptions to the stored count, and rotate a term that has encrypted enough."""
        keyring = self.keyring
        count = keyring.unsaved
        if not count:
            return
        async with self._pool.transaction() as transaction:
            row = await transaction.fetchrow("find_seal_record", _KEYRING)
            if row is None:
                raise BarrierError("the keyring is missing")
            stored = Keyring.unwrap(self._root_key, row["value"]).with_encryptions(keyring.active_term, count)
            changed = await transaction.execute(
                "update_seal_record", _KEYRING, stored.wrap(self._root_key), row["version"]
            )
        if changed:
            keyring.mark_saved(count)
        if stored.needs_rotation:
            await self.rotate()

    def encrypt(self, namespace_id: int, key: str, version: int, value: bytes) -> bytes:
        """The blob of an entry's value at this version."""
        return self.keyring.encrypt(value, aead.bind("entries", namespace_id, key, version))

    async def decrypt(self, namespace_id: int, key: str, version: int, blob: bytes) -> bytes:
        """The value of an entry's blob."""
        return await self._decrypt(blob, aead.bind("entries", namespace_id, key, version))

    def encrypt_recipe(self, lease_id: str, recipe: bytes) -> bytes:
        """The blob of a lease's frozen recipe."""
        return self.keyring.encrypt(recipe, aead.bind("lease_facts", lease_id))

    async def decrypt_recipe(self, lease_id: str, blob: bytes) -> bytes:
        """The recipe of a lease."""
        return await self._decrypt(blob, aead.bind("lease_facts", lease_id))

    async def _decrypt(self, blob: bytes, aad: bytes) -> bytes:
        try:
            return self.keyring.decrypt(blob, aad)
        except UnknownTermError:
            await self.reload()
        return self.keyring.decrypt(blob, aad)

    async def _load(self, root_key: bytes) -> Keyring:
        row = await self._pool.fetchrow("find_seal_record", _KEYRING)
        if row is None:
            raise BarrierError("the keyring is missing")
        return Keyring.unwrap(root_key, row["value"])

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Runner]:
        """A storage transaction, for writes that must commit together with entries."""
        async with self._pool.transaction() as transaction:
            yield transaction
