"""Keyed hashes of ids: what storage has instead of them, even behind the barrier.

The key is random, one for each mount: a digest says nothing without it, and means nothing elsewhere.
"""

from __future__ import annotations

import hmac
import secrets

import msgspec

from secretd.sdk.engine import Mount, System
from secretd.sdk.errors import ConflictError
from secretd.sdk.fields import Sensitive
from secretd.sdk.storage import NEW, View, find, save

_KEY = "digest-key"


class DigestKey(msgspec.Struct, frozen=True):
    """The mount's key, in hex."""

    key: Sensitive

    def role_id(self, value: str) -> str:
        """64 hex digits for a role id."""
        return self._digest("role-id", value)

    def secret_id(self, value: Sensitive) -> str:
        """64 hex digits for a secret id."""
        return self._digest("secret-id", value.reveal())

    def _digest(self, kind: str, value: str) -> str:
        """The kind keeps role ids and secret ids apart."""
        raw = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(bytes.fromhex(self.key.reveal()), raw, "sha256").hex()


async def make_key(system: System, view: View, mount: Mount) -> None:
    """Draw the mount's key, once."""
    await load_key(view)


async def load_key(view: View) -> DigestKey:
    """The mount's key. Never inside a transaction: its row would be locked."""
    found = await find(view, _KEY, DigestKey)
    if found is not None:
        return found
    drawn = DigestKey(Sensitive(secrets.token_hex(32)))
    try:
        await save(view, _KEY, drawn, version=NEW)
    except ConflictError:  # somebody else was first
        return await load_key(view)
    return drawn
