"""Keyed hashes, comparison in constant time, and random names.

Every hash here takes a key: a bare hash of a token or an audited value could be tried out offline.
"""

from __future__ import annotations

import hmac
import secrets
import string
import uuid

SIZE = 32  # bytes of every hash of this module
CHAIN_START = bytes(SIZE)  # what stands before the first entry of a chain

_BASE62 = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
_FAIR = 256 - 256 % len(_BASE62)  # bytes from here up would make some letters likelier
_LETTERS = bytes(_BASE62[byte % len(_BASE62)] for byte in range(256))
_UNFAIR = bytes(range(_FAIR, 256))


def keyed_hash(key: bytes, value: bytes | str) -> bytes:
    """HMAC-SHA256 of the value (text as UTF-8), 32 bytes."""
    return hmac.digest(key, _raw(value), "sha256")


def chain(key: bytes, previous: bytes, entry: bytes) -> bytes:
    """The link after ``previous`` (32 bytes, at first CHAIN_START) that vouches for all entries so far."""
    if len(previous) != SIZE:  # a fixed length keeps previous and entry apart
        raise ValueError("a link of a chain has 32 bytes")
    return keyed_hash(key, previous + entry)


def equal(left: bytes | str, right: bytes | str) -> bool:
    """Whether both are the same bytes (text as UTF-8), in a time that does not tell where they differ."""
    return hmac.compare_digest(_raw(left), _raw(right))


def random_token(prefix: str, length: int = 24) -> str:
    """The prefix and ``length`` letters and digits, 5.95 bits each: 142 bits at 24."""
    letters = b""
    while len(letters) < length:
        letters += secrets.token_bytes(length + 8).translate(_LETTERS, _UNFAIR)
    return prefix + letters[:length].decode()


def random_uuid() -> str:
    """A random (version 4) UUID as text, from the system's generator."""
    return str(uuid.uuid4())


def _raw(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
