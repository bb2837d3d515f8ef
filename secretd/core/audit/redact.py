"""Redaction: what an audit entry may show of a request's or an answer's data.

An allow-list by shape. Keys of objects stay; every leaf (text, number, boolean, null, bytes, anything else)
becomes ``hmac-sha256:…`` unless its key is one that the mount was tuned to show. So a field that nobody
thought of is hidden, not shown. Equal values give equal texts: that is how `sys/audit-hash` finds them.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec

from secretd.sdk.fields import Duration, Sensitive, encode_sealed

KEY_BYTES = 32
MAX_LEAVES = 4096  # then a container is one HMAC: a hostile body must not hold the loop (CVE-2025-6203)
MAX_DEPTH = 32
MAX_KEY = 256  # characters; a longer key is no name, and would let anybody fill the disk
NOTHING_CLEAR: frozenset[str] = frozenset()

_WIDEST = 2**63  # an integer past it has no JSON here
_FREQUENT = ("", "null", "true", "false", *map(str, range(64)))
_opaque = msgspec.json.Encoder(enc_hook=encode_sealed, order="deterministic")


def as_text(value: bool | float | None) -> str:
    """A scalar as JSON writes it, so that an operator can type it into `sys/audit-hash`."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = int(value)  # a Duration, which msgspec does not know
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, ValueError):  # an integer of thousands of digits
        return hex(value) if isinstance(value, int) else ""


class Redactor:
    """Hashes leaves under one key of 32 random bytes. Holds no value longer than a call."""

    __slots__ = ("_frequent", "_inner")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("an audit key has 32 bytes")
        # A keyed state that is copied: the key's two blocks are hashed once, not with every leaf.
        self._inner = hmac.new(key, digestmod="sha256")
        self._frequent: dict[str, str] = {}
        self._frequent = {text: self.hash_text(text) for text in _FREQUENT}

    def hash_text(self, value: str | bytes) -> str:
        """Vault's text of a hidden value: ``hmac-sha256:`` and 64 hex digits. Text is taken as UTF-8."""
        if isinstance(value, str):
            known = self._frequent.get(value)
            if known is not None:
                return known
            value = value.encode("utf-8", "surrogatepass")  # a lone surrogate must not stop the entry
        state = self._inner.copy()
        state.update(value)
        return "hmac-sha256:" + state.hexdigest()

    def redact(self, data: Any, *, clear: frozenset[str] = NOTHING_CLEAR) -> Any:
        """A copy of JSON-like data with its leaves hashed, but scalars right under a key in ``clear``."""
        return _Walk(self, clear).visit(data, MAX_DEPTH)

    def hash_opaque(self, value: object) -> str:
        """One HMAC over anything's JSON; what has no JSON is hashed by the name of its type, never by repr."""
        try:
            encoded = _opaque.encode(value)
        except Exception:  # whatever an odd object raises, its entry is still written
            encoded = type(value).__qualname__.encode("utf-8", "surrogatepass")
        return self.hash_text(encoded)


class _Walk:
    """One walk over one tree, with what is left of its budget."""

    __slots__ = ("clear", "hash", "opaque", "room")

    def __init__(self, redactor: Redactor, clear: frozenset[str]) -> None:
        self.hash = redactor.hash_text
        self.opaque = redactor.hash_opaque
        self.clear = clear
        self.room = MAX_LEAVES

    def visit(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self.hash(value)
        if kind is dict or kind is list or kind is tuple:
            self.room -= len(value)
            if self.room < 0 or not depth:
                return self.opaque(value)
            if kind is not dict:
                return [self.visit(item, depth - 1) for item in value]
            return {self._key(key): self._member(key, item, depth - 1) for key, item in value.items()}
        return self._leaf(value)

    def _member(self, key: Any, value: Any, depth: int) -> Any:
        if self.clear and key in self.clear and _is_plain(value):
            return int(value) if isinstance(value, Duration) else value
        return self.visit(value, depth)

    def _key(self, key: Any) -> str:
        if type(key) is not str:
            return self.opaque(key)
        return key if len(key) <= MAX_KEY else self.hash(key)

    def _leaf(self, value: Any) -> str:
        if value is None or isinstance(value, (bool, int, float)):
            return self.hash(as_text(value))
        if isinstance(value, Sensitive):
            return self.hash(value.reveal())
        if isinstance(value, (str, bytes)):
            return self.hash(value)
        return self.opaque(value)


def _is_plain(value: object) -> bool:
    if type(value) is int or isinstance(value, Duration):
        return -_WIDEST <= value < _WIDEST
    return value is None or type(value) in (str, float, bool)
