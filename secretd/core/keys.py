"""Keys of the installation that are independent of terms. They live behind the barrier."""

from __future__ import annotations

import secrets

import msgspec

from secretd.crypto.digest import keyed_hash
from secretd.sdk.errors import BarrierError, SealedError
from secretd.sdk.storage import decode, encode
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool, Runner
from secretd.storage.view import EntryView

_KEY = "keys"


class InstallationKeys(msgspec.Struct, frozen=True):
    """32 random bytes each: for hashing tokens, signing what they grant, hashing audited values, chaining entries."""

    token: bytes
    grant: bytes
    audit: bytes
    chain: bytes

    def sign_grant(self, told: bytes) -> bytes:
        """The MAC over what a token's row grants."""
        return keyed_hash(self.grant, told)

    def hash_token(self, token: str) -> bytes:
        """What a token is stored and looked up as."""
        return keyed_hash(self.token, token)

    def __repr__(self) -> str:
        return "InstallationKeys(…)"


class Keys:
    """The keys while unsealed."""

    def __init__(self, pool: Pool, barrier: Barrier) -> None:
        self._pool = pool
        self._barrier = barrier
        self._loaded: InstallationKeys | None = None

    @property
    def loaded(self) -> InstallationKeys:
        """The keys; SealedError while sealed."""
        if self._loaded is None:
            raise SealedError
        return self._loaded

    def hash_token(self, token: str) -> bytes:
        """What a token is stored and looked up as."""
        return self.loaded.hash_token(token)

    def sign_grant(self, told: bytes) -> bytes:
        """The MAC over what a token's row grants."""
        return self.loaded.sign_grant(told)

    async def create(self, runner: Runner) -> InstallationKeys:
        """Make and return them, at initialisation."""
        keys = InstallationKeys(*(secrets.token_bytes(32) for _ in range(4)))
        await EntryView(runner, self._barrier, prefix="core/").put(_KEY, encode(keys), version=0)
        return keys

    async def load(self) -> None:
        """Read them, when the barrier is open."""
        entry = await EntryView(self._pool, self._barrier, prefix="core/").get(_KEY)
        if entry is None:
            raise BarrierError("the installation's keys are missing")
        self._loaded = decode(entry.value, InstallationKeys)

    def forget(self) -> None:
        """Sealed."""
        self._loaded = None
