"""The seal: who can give the root key back. State machines that do no I/O.

1. The root key wraps the keyring; an *unseal key* wraps the root key. Only the wrapped root key
   and a :class:`SealConfig` are stored in the clear.
2. Seal type ``shamir``: the unseal key is random, split into key shares, and kept nowhere.
   :class:`UnsealProgress` gathers shares until they give a candidate; that it is right shows only
   in :func:`unwrap_root_key`. Completing empties the progress, whatever the candidate was worth.
3. Seal type ``static``: the unseal key is the operator's, named by a key id. A previous key still
   opens, so that a start under a new key can wrap again.
4. The wrapped root key is bound to seal type and key id: neither can be relabelled.
5. With a static seal people hold *recovery* shares. They open nothing; they prove a right.
   Their hash therefore lives behind the barrier: who could replace it would own that right.
"""

from __future__ import annotations

import base64
import secrets
from typing import Literal, NoReturn

import msgspec

from secretd.crypto import aead, digest, shamir
from secretd.sdk.errors import BarrierError, ConfigError, InvalidRequestError

SealType = Literal["shamir", "static"]
_WRAP_TERM = 0  # an unseal key has no terms
_SHARE_SIZE = aead.KEY_SIZE + 1
_RECOVERY = b"secretd recovery key"


class SealConfig(msgspec.Struct, frozen=True):
    """What a sealed daemon must know, stored in the clear beside the wrapped root key.

    ``shares`` and ``threshold`` count key shares (shamir) or recovery shares (static).
    ``key_id`` names the static key that wrapped the root key; it is empty for shamir.
    """

    type: SealType = "shamir"
    shares: int = 1
    threshold: int = 1
    key_id: str = ""

    def check(self) -> None:
        """Raise InvalidRequestError on counts that cannot be."""
        shamir.require_counts(self.shares, self.threshold)


class RecoveryConfig(msgspec.Struct, frozen=True):
    """How a recovery key was split, and its hash. Store it behind the barrier."""

    shares: int
    threshold: int
    key_hash: bytes

    @classmethod
    def create(cls, shares: int, threshold: int) -> tuple[RecoveryConfig, list[bytes]]:
        """A new recovery key as config and shares; raise InvalidRequestError on counts that cannot be."""
        key = secrets.token_bytes(aead.KEY_SIZE)
        parts = shamir.split(key, shares, threshold)
        return cls(shares, threshold, digest.keyed_hash(_RECOVERY, key)), parts

    def require(self, key: bytes) -> None:
        """Raise InvalidRequestError unless this is the recovery key."""
        if not digest.equal(self.key_hash, digest.keyed_hash(_RECOVERY, key)):
            raise InvalidRequestError("the recovery shares do not combine to the recovery key")


class UnsealProgress:
    """Shares on their way to a key: an unseal key or a recovery key."""

    __slots__ = ("_given", "_nonce", "shares", "threshold")

    def __init__(self, shares: int, threshold: int) -> None:
        """Take the counts of the seal's config; raise InvalidRequestError if they cannot be."""
        shamir.require_counts(shares, threshold)
        self.shares = shares
        self.threshold = threshold
        self._given: list[bytes] = []
        self._nonce = ""

    @property
    def progress(self) -> int:
        """Distinct shares so far: 0 to threshold - 1."""
        return len(self._given)

    @property
    def nonce(self) -> str:
        """The UUID of this attempt, empty before its first share."""
        return self._nonce

    def submit(self, share: bytes, *, nonce: str | None = None) -> bytes | None:
        """Take a share: None while more are wanted, then the 32-byte candidate and an empty progress.

        The same share twice counts once. Raise InvalidRequestError, and keep what was there, on a
        nonce of another attempt, a share of another shape, or one that contradicts a given share.
        """
        if nonce is not None and not digest.equal(nonce, self._nonce):
            raise InvalidRequestError("the nonce is not the one of the attempt under way")
        if self._is_new(share):
            self._nonce = self._nonce or digest.random_uuid()
            self._given.append(bytes(share))
        if len(self._given) < self.threshold:
            return None
        given = self._given
        self.reset()
        return shamir.combine(given)

    def reset(self) -> None:
        """Forget the shares and the nonce."""
        self._given = []
        self._nonce = ""

    def _is_new(self, share: bytes) -> bool:
        size = aead.KEY_SIZE if self.shares == 1 else _SHARE_SIZE
        if len(share) != size or (self.shares > 1 and share[-1] == 0):
            raise InvalidRequestError("this is not a key share of this seal", hint="was a character lost?")
        if any(digest.equal(share, given) for given in self._given):
            return False
        # Refused here, not when combined: then the shares that came before would be lost, too.
        if any(share[-1] == given[-1] for given in self._given):
            raise InvalidRequestError(
                "this key share contradicts one that was given before",
                hint="one of the two is wrong: reset the attempt and begin again",
            )
        return True

    def __repr__(self) -> str:
        return f"UnsealProgress({self.progress}/{self.threshold} of {self.shares})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an UnsealProgress is not pickled")


class StaticSeal:
    """An unseal key of the operator's, with its id, and perhaps the one before it."""

    __slots__ = ("_keys", "key_id")

    def __init__(self, key: bytes, key_id: str, previous: tuple[bytes, str] | None = None) -> None:
        """Take 32-byte keys, ``previous`` as (key, key id); raise ConfigError on other shapes."""
        if not key_id:
            raise ConfigError("[seal] key_id is missing", hint="name the key, for instance by its month")
        self.key_id = key_id
        self._keys = {key_id: key}
        if previous is not None:
            previous_key, previous_id = previous
            if not previous_id or previous_id == key_id:
                raise ConfigError("[seal] previous_key_id is missing or the same as key_id")
            self._keys[previous_id] = previous_key
        if any(len(held) != aead.KEY_SIZE for held in self._keys.values()):
            raise ConfigError("[seal] key is not 32 bytes")

    def wrap(self, root_key: bytes) -> bytes:
        """Wrap the root key under the present key; store it with ``self.key_id`` in the SealConfig."""
        return wrap_root_key(self._keys[self.key_id], root_key, seal_type="static", key_id=self.key_id)

    def unwrap(self, blob: bytes, *, key_id: str) -> bytes:
        """The root key; ``key_id`` is the stored config's.

        Raise ConfigError if no configured key has that id, BarrierError if the key is not the one.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise ConfigError(
                "the root key is wrapped under a key id that [seal] does not name",
                hint="set previous_key and previous_key_id to the key that was configured before",
            )
        return unwrap_root_key(key, blob, seal_type="static", key_id=key_id)

    def needs_rewrap(self, key_id: str) -> bool:
        """Whether what is stored under ``key_id`` should be wrapped again under the present key."""
        return key_id != self.key_id

    def __repr__(self) -> str:
        return f"StaticSeal(key_id={self.key_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a StaticSeal is not pickled")


def generate_root_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(aead.KEY_SIZE)


def create_shamir(root_key: bytes, shares: int, threshold: int) -> tuple[bytes, list[bytes]]:
    """Wrap the root key under a new unseal key: the wrapped root key and the unseal key's shares.

    A share has 33 bytes, 32 if it is the only one. Raise InvalidRequestError on counts that cannot be.
    """
    unseal_key = secrets.token_bytes(aead.KEY_SIZE)
    parts = shamir.split(unseal_key, shares, threshold)
    return wrap_root_key(unseal_key, root_key, seal_type="shamir"), parts


def wrap_root_key(unseal_key: bytes, root_key: bytes, *, seal_type: SealType, key_id: str = "") -> bytes:
    """Wrap the root key under a 32-byte unseal key, bound to seal type and key id."""
    return aead.encrypt(unseal_key, _WRAP_TERM, root_key, _aad(seal_type, key_id))


def unwrap_root_key(unseal_key: bytes, blob: bytes, *, seal_type: SealType, key_id: str = "") -> bytes:
    """The root key; raise BarrierError if unseal key, seal type or key id are not those that wrapped it."""
    try:
        return aead.decrypt(unseal_key, blob, _aad(seal_type, key_id))
    except BarrierError:
        raise BarrierError("this unseal key does not open the root key") from None


def parse_static_key(data: bytes) -> bytes:
    """The 32 bytes of a key file: raw, or text in hex or base64 (either alphabet, spaces around it).

    Raise ConfigError on anything else, without showing it.
    """
    if len(data) == aead.KEY_SIZE:
        return bytes(data)
    text = data.strip()
    for decode in (_from_hex, _from_base64):
        key = decode(text)
        if key is not None and len(key) == aead.KEY_SIZE:
            return key
    raise ConfigError(
        "[seal] key is not 32 bytes, raw, hex or base64", hint="make one: `secretd operator keygen`"
    )


def _from_hex(text: bytes) -> bytes | None:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None


def _from_base64(text: bytes) -> bytes | None:
    padded = text.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded, validate=True)
    except ValueError:
        return None


def _aad(seal_type: SealType, key_id: str) -> bytes:
    return aead.bind("secretd", "root key", seal_type, key_id)
