"""SCRAM-SHA-256 verifiers (RFC 5802, 7677) as PostgreSQL stores them: the target never sees the password."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import stringprep
import unicodedata

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

_SALT_BYTES = 16
_FEW = 256  # iterations; so many take about 0.1 ms, less than the way to a thread and back


async def make_verifier(password: str, *, iterations: int) -> str:
    """Return the verifier. Milliseconds of CPU are spent in a thread: other calls go on."""
    salt = secrets.token_bytes(_SALT_BYTES)
    if iterations <= _FEW:
        return verifier(password, salt, iterations=iterations)
    return await asyncio.to_thread(verifier, password, salt, iterations=iterations)


def verifier(password: str, salt: bytes, *, iterations: int) -> str:
    """Return ``SCRAM-SHA-256$iterations:salt$stored key:server key`` for this salt."""
    # Not hashlib's: cryptography brings an OpenSSL that runs the same rounds in 60 % of the time.
    salted = PBKDF2HMAC(SHA256(), 32, salt, iterations).derive(_prepared(password))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    server = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{server}"


def _prepared(password: str) -> bytes:
    """SASLprep; a password that it forbids is used as it is, as PostgreSQL does."""
    if password.isascii():
        return password.encode()
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(_is_forbidden(char) for char in normal) or _mixes_directions(normal):
        return password.encode()
    return normal.encode()


def _is_forbidden(char: str) -> bool:
    return (
        stringprep.in_table_c12(char)
        or stringprep.in_table_c21_c22(char)
        or stringprep.in_table_c3(char)
        or stringprep.in_table_c4(char)
        or stringprep.in_table_c5(char)
        or stringprep.in_table_c6(char)
        or stringprep.in_table_c7(char)
        or stringprep.in_table_c8(char)
        or stringprep.in_table_c9(char)
        or stringprep.in_table_a1(char)
    )


def _mixes_directions(text: str) -> bool:
    if not any(stringprep.in_table_d1(char) for char in text):
        return False
    ends_right = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return not ends_right or any(stringprep.in_table_d2(char) for char in text)
