"""Shamir's secret sharing over GF(2^8), in Vault's format: the y bytes, then x.

Each byte of the secret is the constant term of its own random polynomial of degree threshold - 1;
a share is the value of all of them at one x, distinct and not zero.

Why it is written with whole numbers: all bytes of a secret lie side by side in one integer and are
multiplied together by one factor. The factors come from the x alone, which are no secret, so no
secret byte ever picks a branch or an address (Vault's tables did: CVE-2023-25000). Python promises
no constant time, but nothing here depends on a secret by design.

Too few or wrong shares combine to a wrong secret without an error: check the result against
something that it opens.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from secretd.sdk.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SHARES = 255  # as many as there are x besides 0
_POLYNOMIAL = 0x1B  # x^8 + x^4 + x^3 + x + 1, the field of AES and of Vault, without its x^8
_MIN_SIZE = 2  # bytes of a share: one y and x


def split(secret: bytes, shares: int, threshold: int) -> list[bytes]:
    """Return ``shares`` shares, any ``threshold`` of which combine; each is one byte longer than the secret.

    One share of one is the secret itself, as in Vault. Raise InvalidRequestError on counts that cannot be.
    """
    require_counts(shares, threshold)
    if not secret:
        raise InvalidRequestError("an empty secret cannot be split")
    if shares == 1:
        return [bytes(secret)]
    size = len(secret)
    # Uniform, zero included: a leading coefficient that is never zero would rule out secrets.
    coefficients = [secrets.randbits(8 * size) for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(secret, "big"))
    xs = secrets.SystemRandom().sample(range(1, MAX_SHARES + 1), shares)
    return [_evaluate(coefficients, x, size=size).to_bytes(size, "big") + bytes([x]) for x in xs]


def combine(shares: Sequence[bytes]) -> bytes:
    """Return what the shares interpolate to at zero, right or wrong; one share alone is the secret itself.

    Raise InvalidRequestError on shares of several lengths, with the same x, or with an x of zero.
    """
    if len(shares) == 1:
        return bytes(shares[0])
    _require_combinable(shares)
    size = len(shares[0]) - 1
    xs = [share[-1] for share in shares]
    secret = 0
    for share, x in zip(shares, xs, strict=True):
        weight = _weight_at_zero(x, [other for other in xs if other != x])
        secret ^= _scale(int.from_bytes(share[:-1], "big"), weight, size=size)
    return secret.to_bytes(size, "big")


def require_counts(shares: int, threshold: int) -> None:
    """Raise InvalidRequestError unless 1 of 1, or 2 <= threshold <= shares <= 255."""
    if not 1 <= shares <= MAX_SHARES:
        raise InvalidRequestError("shares must be 1 to 255")
    if not 1 <= threshold <= shares:
        raise InvalidRequestError("threshold must be at least one and at most the number of shares")
    if shares > 1 and threshold == 1:
        raise InvalidRequestError("threshold must be greater than one for multiple shares")


def _require_combinable(shares: Sequence[bytes]) -> None:
    if not shares:
        raise InvalidRequestError("no key share was given")
    if len({len(share) for share in shares}) != 1 or len(shares[0]) < _MIN_SIZE:
        raise InvalidRequestError("the key shares differ in length or are too short")
    xs = {share[-1] for share in shares}
    if len(xs) != len(shares):
        raise InvalidRequestError("two key shares are the same one")
    if 0 in xs:
        raise InvalidRequestError("a key share is malformed")


def _evaluate(coefficients: Sequence[int], x: int, *, size: int) -> int:
    """Horner's rule, highest coefficient first, on ``size`` bytes at once."""
    value = 0
    for coefficient in coefficients:
        value = _scale(value, x, size=size) ^ coefficient
    return value


def _weight_at_zero(x: int, others: Sequence[int]) -> int:
    """Lagrange's factor of the share at x: the product of other / (other - x); minus is XOR here."""
    above, below = 1, 1
    for other in others:
        above = _scale(above, other, size=1)
        below = _scale(below, other ^ x, size=1)
    return _scale(above, _inverse(below), size=1)


def _inverse(element: int) -> int:
    """The element to the power of 254, which is its inverse: the group has 255 members."""
    square, product = element, 1
    for _ in range(7):  # 254 = 2 + 4 + … + 128
        square = _scale(square, square, size=1)
        product = _scale(product, square, size=1)
    return product


def _scale(lanes: int, factor: int, *, size: int) -> int:
    """Each of the ``size`` bytes in ``lanes`` times ``factor``: shift and add, all bytes in step."""
    ones = int.from_bytes(b"\x01" * size, "big")
    product = 0
    for bit in range(8):
        product ^= lanes * (factor >> bit & 1)
        overflow = lanes >> 7 & ones
        lanes = (lanes & ones * 0x7F) << 1 ^ overflow * _POLYNOMIAL
    return product
