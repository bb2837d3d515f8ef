"""Storage as an engine sees it: its own mount's keys, decrypted, and nothing else."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import msgspec

from secretd.sdk.fields import decode_hook, encode_sealed

S = TypeVar("S", bound=msgspec.Struct)
ANY_VERSION = -1
NEW = 0  # the version of what is not there


@dataclass(slots=True, frozen=True)
class Entry:
    """A value and the number of its writes (from 1)."""

    value: bytes
    version: int


class View(Protocol):
    """Storage chrooted to a mount. Keys are canonical paths without a leading slash."""

    async def get(self, key: str) -> Entry | None:
        """The entry, or None."""

    async def put(self, key: str, value: bytes, *, version: int = ANY_VERSION) -> int:
        """Write; return the new version. ``version`` is a check-and-set: ConflictError if it is another."""

    async def delete(self, key: str) -> bool:
        """Remove; whether something was there."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> list[str]:
        """Names directly under the prefix, in byte order; a name that ends in ``/`` is a folder."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all below; how many."""

    def transaction(self) -> AbstractAsyncContextManager[Self]:
        """A view whose writes commit together, or not at all."""


_ENCODER = msgspec.msgpack.Encoder(enc_hook=encode_sealed)


def encode(value: Any) -> bytes:
    """Bytes of a Struct for storage behind the barrier."""
    return _ENCODER.encode(value)


def decode(value: bytes, kind: type[S]) -> S:
    """The Struct back. Unknown fields are ignored, so an older program reads a newer one's entry."""
    return msgspec.msgpack.decode(value, type=kind, dec_hook=decode_hook)


async def find(view: View, key: str, kind: type[S]) -> S | None:
    """The Struct at a key, or None."""
    entry = await view.get(key)
    return None if entry is None else decode(entry.value, kind)


async def save(view: View, key: str, value: msgspec.Struct, *, version: int = ANY_VERSION) -> int:
    """Write a Struct; see :meth:`View.put`."""
    return await view.put(key, encode(value), version=version)
