"""The keyring: the data keys of the barrier, numbered by term.

1. The newest term encrypts; every term decrypts. A term is never removed, since rows keep theirs.
2. A keyring does not change: :meth:`Keyring.rotate` returns another one. Only the count of
   encryptions under the newest term moves, and it is an estimate.
3. A term is retired long before 2**32 encryptions: random 96-bit nonces may collide beyond that.
4. At rest the whole keyring is one blob under the root key.

Several daemons share one stored keyring. Who saves its count does so in one transaction: read
``own.unsaved``, lock the stored blob, ``unwrap`` it, ``with_encryptions(own.active_term, count)``,
``wrap`` it, write it; after the commit, ``own.mark_saved(count)``. Others need not reload for that.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from secretd.crypto import aead
from secretd.sdk.errors import BarrierError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Half of GCM's limit: counts that a killed daemon never saved fit into the other half.
ROTATE_AFTER = 2**31
ROOT_TERM = 0  # what the root key writes in a header; data keys count from 1
_AAD = aead.bind("secretd", "keyring")


class UnknownTermError(BarrierError):
    """a stored value is encrypted under a term that this keyring does not have"""

    code = "unknown_term"
    hint = "another daemon may have rotated: reload the keyring and try once more"


class TermInfo(msgspec.Struct, frozen=True):
    """What may be shown of a term: its number, its birth (unix seconds) and its encryptions."""

    term: int
    install_time: float
    encryptions: int


class _Term(msgspec.Struct, frozen=True, array_like=True):
    """A term with its key, as it is stored. Shown, it is its number."""

    number: int
    key: bytes
    install_time: float
    encryptions: int = 0

    def __repr__(self) -> str:
        return f"_Term({self.number})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # msgspec's own would show the key to rich
        return [("number", self.number)]


class _Stored(msgspec.Struct, frozen=True, tag="keyring/1"):
    """The plaintext of a wrapped keyring. The tag is its version."""

    terms: tuple[_Term, ...]


_decoder = msgspec.msgpack.Decoder(_Stored)


class Keyring:
    """Terms and their keys. Made by :meth:`generate` or :meth:`unwrap`."""

    __slots__ = ("_active", "_ciphers", "_terms", "_unsaved")

    def __init__(self, terms: Iterable[_Term]) -> None:
        """Take at least one term; raise BarrierError if they cannot be a keyring."""
        self._terms = {term.number: term for term in terms}
        if not self._terms or min(self._terms) <= ROOT_TERM:
            raise BarrierError("a keyring has terms, counted from 1")
        ciphers = {n: aead.Cipher(term.key, n) for n, term in self._terms.items()}
        # By header, not by number: the hot path then parses nothing.
        self._ciphers = {cipher.header: cipher for cipher in ciphers.values()}
        self._active = ciphers[max(ciphers)]
        self._unsaved = 0

    @classmethod
    def generate(cls, now: float) -> Keyring:
        """A keyring with one new term, born at ``now`` (unix seconds)."""
        return cls([_Term(ROOT_TERM + 1, secrets.token_bytes(aead.KEY_SIZE), now)])

    @classmethod
    def unwrap(cls, root_key: bytes, blob: bytes) -> Keyring:
        """Open a stored keyring; raise BarrierError under another root key or on another shape."""
        plaintext = aead.decrypt(root_key, blob, _AAD)
        try:
            return cls(_decoder.decode(plaintext).terms)
        except (msgspec.MsgspecError, ValueError):
            raise BarrierError("the stored keyring has a shape that this version does not know") from None

    def wrap(self, root_key: bytes) -> bytes:
        """The whole keyring, counts included, as one blob under the 32-byte root key."""
        terms = tuple(self._counted(term) for term in self._terms.values())
        return aead.encrypt(root_key, ROOT_TERM, msgspec.msgpack.encode(_Stored(terms)), _AAD)

    def rotate(self, now: float) -> Keyring:
        """Another keyring with one more term, born at ``now`` (unix seconds), which encrypts from here on."""
        new = _Term(self.active_term + 1, secrets.token_bytes(aead.KEY_SIZE), now)
        return Keyring([*(self._counted(term) for term in self._terms.values()), new])

    def encrypt(self, plaintext: bytes, aad: bytes) -> bytes:
        """A blob under the newest term, counted."""
        self._unsaved += 1
        return self._active.encrypt(plaintext, aad)

    def decrypt(self, blob: bytes, aad: bytes) -> bytes:
        """The plaintext; raise UnknownTermError if another keyring made the blob, else BarrierError."""
        cipher = self._ciphers.get(blob[: aead.HEADER_SIZE])
        if cipher is None:
            aead.term_of(blob)  # raises if this is no blob at all: reloading would not help
            raise UnknownTermError
        return cipher.decrypt(blob, aad)

    @property
    def active_term(self) -> int:
        """The newest term, the one that encrypts."""
        return max(self._terms)

    @property
    def terms(self) -> tuple[TermInfo, ...]:
        """Every term, oldest first, without its key."""
        return tuple(self._info(self._terms[number]) for number in sorted(self._terms))

    @property
    def active(self) -> TermInfo:
        """The newest term, without its key."""
        return self._info(self._terms[self.active_term])

    @property
    def needs_rotation(self) -> bool:
        """The newest term has encrypted as often as it should."""
        return self.active.encryptions >= ROTATE_AFTER

    @property
    def unsaved(self) -> int:
        """Encryptions under the newest term that this process has made and not marked as saved."""
        return self._unsaved

    def mark_saved(self, count: int) -> None:
        """Say that ``count`` of the unsaved encryptions are in the stored keyring now."""
        number = self.active_term
        held = self._terms[number]
        self._terms[number] = msgspec.structs.replace(held, encryptions=held.encryptions + count)
        self._unsaved -= count

    def with_encryptions(self, term: int, count: int) -> Keyring:
        """Another keyring that counts ``count`` more under ``term``; raise UnknownTermError without it."""
        if term not in self._terms:
            raise UnknownTermError
        counted = {number: self._counted(held) for number, held in self._terms.items()}
        held = counted[term]
        counted[term] = msgspec.structs.replace(held, encryptions=held.encryptions + count)
        return Keyring(counted.values())

    def _counted(self, term: _Term) -> _Term:
        """The term with the unsaved count in it, if it is the newest."""
        if term.number != self.active_term or not self._unsaved:
            return term
        return msgspec.structs.replace(term, encryptions=term.encryptions + self._unsaved)

    def _info(self, term: _Term) -> TermInfo:
        return TermInfo(term.number, term.install_time, self._counted(term).encryptions)

    def __repr__(self) -> str:
        return f"Keyring(active_term={self.active_term})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keyring is not pickled")
