"""Who holds what: ``sys/leases/view``, ``show`` and ``top``, and what operators do about ends that fail.

These paths are ours, not Vault's. Answers have the operators' columns and never a recipe or a credential.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from secretd.core.leases.model import Receipt
from secretd.core.parts import Parts
from secretd.sdk.clock import rfc3339
from secretd.sdk.errors import ConflictError, InvalidRequestError, NoHandlerError, NotFoundError
from secretd.sdk.fields import Duration
from secretd.sdk.path import Path
from secretd.sdk.request import READ, UPDATE, Call
from secretd.sdk.response import Response
from secretd.storage.holdings import MOST, STATES, Holdings, Question
from secretd.storage.pool import Row
from secretd.system.call import own_token

log = structlog.get_logger()
_NEXT = 20  # rows of `top` where nobody says how many
_SAME_ACCOUNT = 10
_LONGEST_REASON = 200
_OVER = frozenset({"revoked", "abandoned"})
_receipts = msgspec.msgpack.Decoder(Receipt)


class QuestionFields(msgspec.Struct):
    """Filters, all of which must fit. ``after`` is the last id of the page before."""

    prefix: str = ""
    mount: str = ""
    target: str = ""
    role: str = ""
    holder: str = ""
    user: str = ""
    state: str = ""
    expiring_in: Duration | None = None
    failing: bool = False
    after: str = ""
    limit: int = MOST


class WhichFields(msgspec.Struct):
    """A lease by its id, or by the name of its account on the target."""

    id_or_account: str


class TopFields(msgspec.Struct):
    """How many leases to name."""

    limit: int = _NEXT


class RetryFields(msgspec.Struct):
    """A lease, or all under a path."""

    lease_id: str = ""
    prefix: str = ""


class DropFields(msgspec.Struct):
    """A lease, and why it is dropped: text for people, kept in clear."""

    lease_id: str
    reason: str


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    views, hands = Views(parts), Hands(parts)
    return (
        Path(READ, "leases/view", QuestionFields, views.list_page, sudo=True),
        Path(READ, "leases/show/{id_or_account*}", WhichFields, views.show, sudo=True),
        Path(READ, "leases/top", TopFields, views.top, sudo=True),
        Path(UPDATE, "leases/retry", RetryFields, hands.retry),
        Path(UPDATE, "leases/force-drop", DropFields, hands.drop, sudo=True),
    )


class Views:
    """Shows leases to operators."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._holdings = Holdings(parts.pool, parts.leases)

    async def list_page(self, call: Call, fields: QuestionFields) -> Response:
        """List leases by target, role, mount, holder, account, state, what is left or failure; 1000 a page."""
        question = self._question(fields)
        if not 0 < fields.limit <= MOST:
            raise InvalidRequestError(f"limit is a whole number from 1 to {MOST}")
        rows = await self._holdings.list_page(question, after=fields.after, limit=fields.limit)
        last = rows[-1]["id"] if len(rows) == fields.limit else ""
        return Response(data={"leases": [self._shown(row) for row in rows], "next": last})

    async def show(self, call: Call, fields: WhichFields) -> Response:
        """Show all that is known of a lease, over or not: who, what, when, and what became of its end."""
        said = fields.id_or_account.strip("/")
        row = await self._holdings.find(said) if said else None
        others: list[Row] = []
        if row is None and said:
            others = await self._holdings.list_of_account(said, _SAME_ACCOUNT)
            row = others[0] if others else None
        if row is None:
            raise NotFoundError("there is no lease with this id, and none of this account")
        shown = self._shown(row) | {"receipt": _receipt(row), "other_leases": [r["id"] for r in others[1:]]}
        return Response(data=shown)

    async def top(self, call: Call, fields: TopFields) -> Response:
        """Show how many leases there are by state, how late ends are, and the leases that are due next."""
        states = await self._parts.leases.count_by_state()
        rows = await self._holdings.list_next(fields.limit)
        return Response(
            data={
                "states": {row["state"]: row["leases"] for row in states},
                "failing": sum(row["failing"] for row in states),
                "oldest_unrevoked_age": round(max((row["unrevoked_age"] for row in states), default=0.0)),
                "next": [self._shown(row) for row in rows],
            }
        )

    def _question(self, fields: QuestionFields) -> Question:
        if fields.state and fields.state not in STATES:
            raise InvalidRequestError(f"state is one of {', '.join(STATES)}")
        if fields.expiring_in is not None and fields.expiring_in < 0:
            raise InvalidRequestError("expiring_in must not be negative")
        return Question(
            prefix=f"{fields.prefix.strip('/')}/" if fields.prefix.strip("/") else "",
            target=fields.target,
            role=fields.role,
            mount_id=self._mount_id(fields.mount),
            holder=fields.holder,
            account_name=fields.user,
            state=fields.state,
            expiring_within=None if fields.expiring_in is None else float(fields.expiring_in),
            is_failing=fields.failing,
        )

    def _mount_id(self, said: str) -> str:
        """The id behind a mount's path; what is no path is an id, maybe of a mount that is gone."""
        route = self._parts.caches.router.by_path(said.strip("/") + "/") if said else None
        return said if route is None else route.record.id

    def _mount_path(self, mount_id: str) -> str:
        try:
            return self._parts.caches.router.by_id(mount_id).record.path
        except NoHandlerError:
            return mount_id

    def _shown(self, row: Row) -> dict[str, Any]:
        is_over = row["state"] in _OVER
        return {
            "lease_id": row["id"],
            "state": row["state"],
            "mount": self._mount_path(row["mount_id"]),
            "role": row["role"],
            "target": row["target"],
            "account_name": row["account_name"],
            "display_name": row["display_name"],
            "entity_id": row["entity_id"],
            "token_accessor": row["token_accessor"],
            "client_address": row["client_address"],
            "created_time": rfc3339(row["created_time"]),
            "issue_time": rfc3339(row["issued_time"]),
            "last_renewal": rfc3339(row["renewed_time"]),
            "expire_time": rfc3339(row["expire_time"]),
            "max_expire_time": rfc3339(row["max_expire_time"]),
            "ttl": 0 if is_over else max(0, int(row["ttl"] or 0)),
            "attempts": row["attempts"],
            "last_error": row["last_error"] or "",
            "first_failed_time": rfc3339(row["first_failed_time"]),
            "next_try_time": rfc3339(row["due_time"]) if row["state"] == "revoking" else None,
            "end_reason": row["end_reason"] or "",
            "end_time": rfc3339(row["revoked_time"]),
        }


class Hands:
    """What operators do about ends that fail."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._holdings = Holdings(parts.pool, parts.leases)

    async def retry(self, call: Call, fields: RetryFields) -> Response:
        """Try failed ends again now, of a lease or of all under a path, and not after their back-off."""
        folder = fields.prefix.strip("/")
        if bool(fields.lease_id) == bool(folder):
            raise InvalidRequestError("either lease_id or prefix must be specified")
        if fields.lease_id:
            hastened = await self._holdings.hasten(fields.lease_id)
        else:
            hastened = await self._holdings.hasten_prefix(folder + "/")
        self._parts.revoker.wake()
        warnings = [] if hastened else ["no end has failed there, so there is nothing to try again"]
        return Response(data={"retried": hastened}, warnings=warnings)

    async def drop(self, call: Call, fields: DropFields) -> Response:
        """Give up a lease whose end fails, without its target. Its row stays, with the account and the reason."""
        reason = fields.reason.strip()
        if not reason or len(reason) > _LONGEST_REASON or not reason.isprintable():
            raise InvalidRequestError(f"reason is a line of 1 to {_LONGEST_REASON} characters")
        _, token = own_token(call)
        dropped = await self._holdings.abandon(
            fields.lease_id, f"force-drop by {token.display_name}: {reason}"
        )
        if dropped is None:
            raise await self._refusal(fields.lease_id)
        log.warning("lease.dropped", lease_id=dropped["id"], target=dropped["target"])
        return Response(
            data={
                "lease_id": dropped["id"],
                "account_name": dropped["account_name"],
                "target": dropped["target"],
                "attempts": dropped["attempts"],
                "last_error": dropped["last_error"] or "",
            },
            warnings=["the account may live on at the target, and nobody ends it now: remove it by hand"],
        )

    async def _refusal(self, lease_id: str) -> Exception:
        row = await self._holdings.find(lease_id)
        if row is None:
            return NotFoundError("there is no lease with this id")
        if row["state"] in _OVER:
            return ConflictError("the lease is over already")
        return ConflictError(
            "the lease is not being ended", hint="revoke it first; drop it only if that fails"
        )


def _receipt(row: Row) -> dict[str, Any] | None:
    """How the end was proved, or None."""
    if not row["receipt"]:
        return None
    kept = _receipts.decode(row["receipt"])
    return {
        "proved_time": rfc3339(row["revoked_time"]),
        "proof": kept.proof,
        "sessions_ended": kept.sessions_ended,
    }
