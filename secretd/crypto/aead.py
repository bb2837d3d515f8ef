"""AES-256-GCM with a versioned header: the one shape of everything that secretd encrypts.

A blob is, in this order::

    1 byte   format version, 1
    4 bytes  term of the key, big-endian
    12 bytes nonce, random, never a caller's
    n bytes  ciphertext
    16 bytes tag

The tag also covers the header, in front of the caller's associated data (AAD). AAD is made with
:func:`bind`, so that no two lists of parts give the same bytes.
"""

from __future__ import annotations

import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secretd.sdk.errors import BarrierError

FORMAT = 1
KEY_SIZE = 32  # bytes
HEADER_SIZE = 5  # bytes
MAX_TERM = 2**32 - 1

_HEADER = struct.Struct(">BI")
_NONCE_SIZE = 12  # bytes; any other length makes GCM hash the nonce, for no gain
_TAG_SIZE = 16  # bytes
_BODY = HEADER_SIZE + _NONCE_SIZE
_MIN_SIZE = _BODY + _TAG_SIZE


class Cipher:
    """One key under one term. Keep it: building the key schedule costs more than one decryption."""

    __slots__ = ("_aes", "header")

    def __init__(self, key: bytes, term: int) -> None:
        """Take 32 bytes and a term of 0 to 2**32 - 1; raise ValueError on other sizes."""
        if len(key) != KEY_SIZE or not 0 <= term <= MAX_TERM:
            raise ValueError("a key has 32 bytes and a term fits 32 bits")
        self._aes = AESGCM(key)
        self.header = _HEADER.pack(FORMAT, term)

    def encrypt(self, plaintext: bytes, aad: bytes) -> bytes:
        """Return a new blob, 33 bytes longer than the plaintext."""
        nonce = os.urandom(_NONCE_SIZE)
        return self.header + nonce + self._aes.encrypt(nonce, plaintext, self.header + aad)

    def decrypt(self, blob: bytes, aad: bytes) -> bytes:
        """Return the plaintext; raise BarrierError unless this key, term and AAD made the blob."""
        if blob[:HEADER_SIZE] != self.header or len(blob) < _MIN_SIZE:
            raise BarrierError
        try:
            return self._aes.decrypt(blob[HEADER_SIZE:_BODY], blob[_BODY:], self.header + aad)
        except InvalidTag:
            raise BarrierError from None


def encrypt(key: bytes, term: int, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt once under a 32-byte key; who encrypts often keeps a :class:`Cipher`."""
    return Cipher(key, term).encrypt(plaintext, aad)


def decrypt(key: bytes, blob: bytes, aad: bytes) -> bytes:
    """Decrypt once; raise BarrierError unless this key and AAD made the blob."""
    return Cipher(key, term_of(blob)).decrypt(blob, aad)


def term_of(blob: bytes) -> int:
    """The term that the header claims, not yet proved; raise BarrierError on what is no blob."""
    if len(blob) < _MIN_SIZE or blob[0] != FORMAT:
        raise BarrierError("a stored value has no header that this version knows")
    return int.from_bytes(blob[1:HEADER_SIZE], "big")


def bind(*parts: bytes | str | int) -> bytes:
    """Join parts into AAD that only these parts, of these types and in this order, give.

    Each part is a type letter, its length in 4 bytes and itself; an int is a signed 64-bit number
    (OverflowError beyond). ``bind(a) + bind(b) == bind(a, b)``: a caller may keep a constant prefix.
    """
    return b"".join(map(_frame, parts))


def _frame(part: bytes | str | int) -> bytes:
    if isinstance(part, str):
        raw = part.encode()
        return b"s" + len(raw).to_bytes(4, "big") + raw
    if isinstance(part, bytes):
        return b"b" + len(part).to_bytes(4, "big") + part
    return b"i\0\0\0\x08" + part.to_bytes(8, "big", signed=True)
