"""A kind of credential with its whole life: prepare, issue, renew, revoke.

Deed and undoing are declared together. Core owns the lease's row; an engine owns what happens on the
target. What revocation needs is frozen in the plan's recipe, so that roles and mounts may go first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from secretd.sdk.engine import System
from secretd.sdk.path import Handler
from secretd.sdk.request import Call
from secretd.sdk.storage import View

F = TypeVar("F", bound=msgspec.Struct)
ISSUE_WINDOW = 10  # seconds between a pending row and its deadline
VALID_UNTIL_GRACE = 60  # seconds by which VALID UNTIL outlives the lease: a safety net, not the mechanism


@dataclass(slots=True, kw_only=True)
class Plan:
    """What ``prepare`` chose before anything happens. Spans are seconds.

    ``recipe`` is frozen into the lease, behind the barrier. ``private`` goes to ``issue`` and nowhere else.
    ``target_offset`` = target's clock minus storage's, as last measured.
    """

    account_name: str
    ttl: int
    max_ttl: int
    recipe: msgspec.Struct
    role: str
    role_key: str
    target: str
    target_offset: float = 0.0
    private: Any = None
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Birth:
    """A pending lease about to be issued."""

    lease_id: str
    plan: Plan
    fence_key: int
    target_deadline: datetime
    ttl: int  # after all limits, seconds


@dataclass(slots=True, frozen=True)
class Renewal:
    """An active lease to secure on the target until ``until`` (storage's clock, grace not included)."""

    lease_id: str
    account_name: str
    recipe: bytes
    fence_key: int
    until: datetime


@dataclass(slots=True, frozen=True)
class Doomed:
    """A claimed lease whose account is to end. ``target_deadline`` is on the target's clock."""

    lease_id: str
    account_name: str
    recipe: bytes
    fence_key: int
    target_deadline: datetime
    was_issued: bool


@dataclass(slots=True, frozen=True)
class End:
    """What became of one doomed account; the meaning of the fields is that of ``plugin.Verdict``."""

    lease_id: str
    outcome: Literal["absent", "busy", "present", "error"]
    past: bool = False
    sessions_ended: int = 0
    error: str = ""


class SecretType:
    """A credential's four verbs. Generic over the Struct of the request's fields.

    ``prepare(call, fields) -> Plan``: touches nothing outside storage.
    ``issue(system, view, birth) -> dict``: creates the account; the dict is the answer's ``data``.
    ``renew(system, view, renewal) -> datetime``: until when the target now lets it live (grace taken off).
    ``revoke(system, view, doomed) -> list[End]``: one target's batch; absent already = done.
    ``batch_key(recipe) -> str``: revocations with the same key may share a call.
    """

    def __init__(
        self,
        name: str,
        *,
        fields: type[F],
        prepare: Callable[[Call, F], Awaitable[Plan]],
        issue: Callable[[System, View, Birth], Awaitable[dict[str, Any]]],
        renew: Callable[[System, View, Renewal], Awaitable[datetime]],
        revoke: Callable[[System, View, tuple[Doomed, ...]], Awaitable[list[End]]],
        batch_key: Callable[[bytes], str],
    ) -> None:
        self.name = name
        self.fields = fields
        self.prepare: Callable[[Call, Any], Awaitable[Plan]] = prepare
        self.issue = issue
        self.renew = renew
        self.revoke = revoke
        self.batch_key = batch_key


@dataclass(slots=True, frozen=True)
class Issues:
    """Marks a row whose handler is a lease's birth; core's issuer runs it."""

    secret_type: SecretType

    async def __call__(self, call: Call, fields: Any) -> None:
        """Never called: the pipeline hands such rows to the issuer."""
        raise TypeError(self.secret_type.name)


def issues(secret_type: SecretType) -> Handler:
    """The handler of a row that leases a credential."""
    return Issues(secret_type)
