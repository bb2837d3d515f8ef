"""The rules of a lease that need no I/O: names, keys, spans, back-off, verdicts, receipts.

1. A lease id is its path and 24 random letters; a fence key is 64 random bits: neither is used twice.
2. Spans: the role's TTL, or the mount's default, cut by role, mount and the holder's token. What cuts is named.
3. An account is *proved* dead when it was seen absent and no CREATE can be on its way: its row was activated,
   or the target's clock, read under the fence's lock, was past the deadline (rules 16-18).
4. A failed end is tried again: doubling from two seconds, jittered, at most 15 minutes, for ever.
"""

from __future__ import annotations

import secrets
from typing import Protocol

import msgspec

from secretd.crypto.digest import random_token
from secretd.sdk.engine import Mount
from secretd.sdk.secret_type import End, Plan
from secretd.sdk.ttl import Limit, Span, shortest

FIRST_DELAY = 2.0  # seconds
LONGEST_DELAY = 900.0
BUSY_DELAY = 1.0  # somebody holds the fence: its transaction ends within the target's time-outs
IRREVOCABLE = 6  # attempts after which the Vault wire lists a lease as irrevocable


class Counts(Protocol):
    """Who counts what became of leases."""

    def lease_issued(self) -> None:
        """One was given out."""

    def leases_revoked(self, count: int) -> None:
        """So many were proved over."""

    def lease_ends_failed(self, count: int) -> None:
        """So many ends failed, and are tried again."""


class Receipt(msgspec.Struct, frozen=True):
    """What is kept of a proved end."""

    proof: str
    sessions_ended: int


_receipts = msgspec.msgpack.Encoder()


def new_lease_id(path: str) -> str:
    """``database/creds/app/`` and 24 letters."""
    return random_token(path.rstrip("/") + "/", 24)


def new_fence_key() -> int:
    """A random signed 64-bit number, as Postgres' advisory locks take them."""
    return secrets.randbits(64) - 2**63


def spans(plan: Plan, mount: Mount, token_ttl: float | None) -> tuple[Span, int]:
    """The lease's TTL with its warning, and its max TTL in seconds."""
    max_ttl = min((s for s in (plan.max_ttl, mount.max_lease_ttl) if s), default=mount.max_lease_ttl)
    span = shortest(
        plan.ttl or mount.default_lease_ttl,
        Limit("the role's max_ttl", plan.max_ttl),
        Limit("the mount's max_lease_ttl", mount.max_lease_ttl),
        Limit("the remaining TTL of the token", token_ttl),
    )
    return span, max_ttl


def is_proved(end: End, *, was_issued: bool) -> bool:
    """Whether this verdict means dead, for ever."""
    return end.outcome == "absent" and (was_issued or end.past)


def receipt(end: End, *, was_issued: bool) -> bytes:
    """The bytes to keep."""
    proof = "absent after issue" if was_issued else "absent past the deadline"
    return _receipts.encode(Receipt(proof, end.sessions_ended))


def back_off(attempts: int) -> float:
    """Seconds to wait after so many failures: jitter keeps a thousand leases from coming back together."""
    delay = min(FIRST_DELAY * 2.0 ** min(attempts, 20), LONGEST_DELAY)
    return delay * (0.75 + secrets.randbelow(1000) / 2000)
