"""``sys/leases`` and the older ``sys/renew``, ``sys/revoke*``: promises with an end.

Old and new paths are rows of their own, so a policy on one says nothing about the other; what they do is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from secretd.core.parts import Parts
from secretd.sdk.clock import rfc3339
from secretd.sdk.errors import InvalidRequestError, NoHandlerError, NotFoundError
from secretd.sdk.fields import Duration
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import LIST, READ, UPDATE, Call
from secretd.sdk.response import Response, names
from secretd.storage.holdings import Holdings
from secretd.system.call import wait_for

_OLD = 30 * 86400.0  # seconds that an ended lease stays for those who ask what became of it
_BATCH = 1000
_MOST = 10_000


class LeaseFields(msgspec.Struct):
    """A lease by its id."""

    lease_id: str = ""


class RenewFields(msgspec.Struct):
    """A lease, and for how long from now; the id may be in the path."""

    lease_id: str = ""
    url_lease_id: str = ""
    increment: Duration | None = None


class RevokeFields(msgspec.Struct):
    """A lease, and whether to wait for its end; the id may be in the path. ``after`` or ``at`` plan an end."""

    lease_id: str = ""
    url_lease_id: str = ""
    sync: bool = True
    after: Duration | None = None
    at: str = ""  # RFC 3339 with a zone


class PrefixFields(msgspec.Struct):
    """The leases under a path."""

    prefix: str = ""


class RevokePrefixFields(msgspec.Struct):
    """The leases under a path, and whether to wait for their end."""

    prefix: str
    sync: bool = True


class ChooseFields(msgspec.Struct):
    """Which leases: all, or ``irrevocable`` ones."""

    type: str = ""
    limit: str = ""
    include_child_namespaces: bool = False


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    look, end = Look(parts), End(parts)
    return (
        Path(UPDATE, "leases/lookup", LeaseFields, look.read),
        Path(LIST, "leases/lookup", Nothing, look.list_root, sudo=True),
        Path(LIST, "leases/lookup/{prefix*}", PrefixFields, look.list_names, sudo=True),
        Path(READ, "leases", ChooseFields, look.list_irrevocable, sudo=True),
        Path(READ, "leases/count", ChooseFields, look.count),
        Path(UPDATE, "leases/renew", RenewFields, look.renew),
        Path(UPDATE, "leases/renew/{url_lease_id*}", RenewFields, look.renew),
        Path(UPDATE, "renew", RenewFields, look.renew),
        Path(UPDATE, "renew/{url_lease_id*}", RenewFields, look.renew),
        Path(UPDATE, "leases/revoke", RevokeFields, end.one),
        Path(UPDATE, "leases/revoke/{url_lease_id*}", RevokeFields, end.one),
        Path(UPDATE, "revoke", RevokeFields, end.one),
        Path(UPDATE, "revoke/{url_lease_id*}", RevokeFields, end.one),
        Path(UPDATE, "leases/revoke-prefix/{prefix*}", RevokePrefixFields, end.prefix, sudo=True),
        Path(UPDATE, "revoke-prefix/{prefix*}", RevokePrefixFields, end.prefix, sudo=True),
        Path(UPDATE, "leases/revoke-force/{prefix*}", PrefixFields, end.force, sudo=True),
        Path(UPDATE, "revoke-force/{prefix*}", PrefixFields, end.force, sudo=True),
        Path(UPDATE, "leases/tidy", Nothing, end.tidy),
    )


class Look:
    """Shows, counts and renews leases."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def read(self, call: Call, fields: LeaseFields) -> Response:
        """Look at a lease: since when, until when, and whether it can be renewed."""
        lease_id = _require_id(fields.lease_id)
        row = await self._parts.leases.find(lease_id)
        # One that is being ended is over for its holder; one whose end fails is there to be looked at.
        if row is None or row["issued_time"] is None or (row["state"] == "revoking" and not row["attempts"]):
            raise InvalidRequestError("invalid lease")
        is_active = row["state"] == "active" and row["ttl"] > 0
        return Response(
            data={
                "id": row["id"],
                "issue_time": rfc3339(row["issued_time"]),
                "expire_time": rfc3339(row["expire_time"]),
                "last_renewal": rfc3339(row["renewed_time"]),
                "renewable": is_active,
                "ttl": max(0, int(row["ttl"])),
            }
        )

    async def list_root(self, call: Call, fields: Nothing) -> Response:
        """List the first parts of all lease ids."""
        return names(await self._parts.leases.list_names(""))

    async def list_names(self, call: Call, fields: PrefixFields) -> Response:
        """List what is directly under a path among the lease ids."""
        prefix = fields.prefix.strip("/")
        return names(await self._parts.leases.list_names(prefix + "/" if prefix else ""))

    async def list_irrevocable(self, call: Call, fields: ChooseFields) -> Response:
        """List leases whose end failed time and again; trying goes on."""
        if fields.type != "irrevocable":
            raise NotFoundError
        rows = await self._parts.leases.list_irrevocable(_limit(fields.limit))
        found = [
            {
                "lease_id": row["id"],
                "mount_id": self._accessor(row["mount_id"]),
                "error": row["last_error"] or "",
                "attempts": row["attempts"],
                "account_name": row["account_name"],
                "target": row["target"],
            }
            for row in rows
        ]
        return Response(data={"lease_count": len(found), "leases": found})

    async def count(self, call: Call, fields: ChooseFields) -> Response:
        """Count leases that are not over, by mount; ``type=irrevocable``: those whose end fails."""
        if fields.type not in {"", "irrevocable"}:
            raise NotFoundError
        by_mount = await self._parts.leases.count_by_mount(irrevocable=fields.type == "irrevocable")
        counts = {self._accessor(mount_id): count for mount_id, count in by_mount.items()}
        return Response(data={"lease_count": sum(counts.values()), "counts": counts})

    async def renew(self, call: Call, fields: RenewFields) -> Response:
        """Renew a lease by an increment from now, never past its maximum; 0 takes its own TTL."""
        lease_id = _require_id(fields.url_lease_id or fields.lease_id)
        increment = int(fields.increment or 0)
        if increment < 0:
            raise InvalidRequestError("increment must not be negative")
        return await self._parts.renewer.renew(lease_id, increment)

    def _accessor(self, mount_id: str) -> str:
        try:
            return self._parts.caches.router.by_id(mount_id).record.accessor
        except NoHandlerError:
            return mount_id


class End:
    """Ends leases."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._holdings = Holdings(parts.pool, parts.leases)

    async def one(self, call: Call, fields: RevokeFields) -> Response | None:
        """Revoke a lease and wait until its credential is proved gone, unless ``sync`` is false; or plan its end.

        ``after`` (a span from now) or ``at`` (a moment) shorten a lease to that end; no renewal passes it.
        """
        lease_id = _require_id(fields.url_lease_id or fields.lease_id)
        if fields.after is not None or fields.at:
            return await self._plan(lease_id, fields.after, fields.at)
        await self._end_one(lease_id, sync=fields.sync)
        return None

    async def prefix(self, call: Call, fields: RevokePrefixFields) -> None:
        """Revoke all leases under a path, or the one whose id it is. Under ``auth/`` the mount's tokens end."""
        said = fields.prefix.removesuffix("*")
        if f"{said}/".startswith("auth/"):
            await self._end_logins(said, sync=fields.sync)
            return
        if not said.endswith("/") and await self._parts.leases.find(said) is not None:
            await self._end_one(said, sync=fields.sync)
            return
        ended = await self._parts.leases.end_prefix(_folder(said), "revoked by prefix")
        await self._settle(ended, sync=fields.sync)

    async def force(self, call: Call, fields: PrefixFields) -> None:
        """Give leases up without their targets: rows stay that name the accounts, which may live on there."""
        said = fields.prefix.removesuffix("*")
        is_one = not said.endswith("/") and await self._parts.leases.find(said) is not None
        await self._parts.leases.abandon_prefix(said if is_one else _folder(said), "forced by an operator")

    async def tidy(self, call: Call, fields: Nothing) -> Response:
        """Forget leases that ended long ago."""
        while await self._parts.leases.delete_old(_OLD, _BATCH) == _BATCH:
            continue
        return Response(warnings=["Tidy operation successfully finished."])

    async def _plan(self, lease_id: str, after: Duration | None, at: str) -> Response:
        if after is not None and (at or after < 0):
            raise InvalidRequestError("either after, a span that is not negative, or at")
        planned = await self._holdings.cap(
            lease_id, seconds=None if after is None else float(after), moment=_moment(at) if at else None
        )
        if planned is None:
            raise InvalidRequestError("lease not found", hint="an end is planned for a lease that lives")
        self._parts.revoker.wake()
        latest, expire = planned["max_expire_time"], planned["expire_time"]
        is_earlier = expire < latest
        return Response(
            data={
                "lease_id": lease_id,
                "expire_time": rfc3339(expire),
                "max_expire_time": rfc3339(latest),
                "ttl": max(0, int(planned["lease_duration"])),
            },
            warnings=["the lease ends earlier by itself; no renewal passes the planned end"]
            if is_earlier
            else [],
        )

    async def _end_one(self, lease_id: str, *, sync: bool) -> None:
        row = await self._parts.leases.find(lease_id)
        if row is None:
            return  # over already, or never was: Vault does not tell either
        if row["state"] == "revoking" and row["attempts"]:
            # Asked again: due now, not after its back-off.
            await self._parts.leases.end_prefix(lease_id, "revoked")
        else:
            await self._parts.leases.end(lease_id, "revoked")
        await self._settle({lease_id: row["attempts"]}, sync=sync)

    async def _end_logins(self, prefix: str, *, sync: bool) -> None:
        """Tokens that logins under this path gave out."""
        under = prefix.strip("/")
        route, _ = self._parts.caches.router.find(under)
        if route.record.kind != "auth" or route.record.path == "auth/token/":
            raise InvalidRequestError(
                "there are no logins under this path",
                hint="revoke-prefix/auth/<mount>, or revoke tokens by accessor",
            )
        due = await self._parts.mounts.end_logins(route.record.id, "revoked by prefix", under=under)
        await self._settle(dict.fromkeys(due, 0), sync=sync)

    async def _settle(self, ended: Mapping[str, int], *, sync: bool) -> None:
        """Wake the revoker and wait if asked to; ``ended``: id → how often its end had failed before."""
        revoker = self._parts.revoker
        revoker.wake()
        if sync and ended:
            deadline = self._parts.about.request_deadline
            await wait_for(revoker.wait_until_over(ended), deadline=deadline, what="the leases are")


def _require_id(lease_id: str) -> str:
    if not lease_id:
        raise InvalidRequestError("lease_id must be specified")
    return lease_id


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidRequestError("at is a moment such as 2026-11-23T10:00:00Z, with its zone")
    return found


def _folder(prefix: str) -> str:
    if not prefix.strip("/"):
        raise InvalidRequestError("a prefix must be specified")
    return prefix.rstrip("/") + "/"


def _limit(text: str) -> int:
    if text in {"", "none"}:
        return _MOST
    if not text.isdecimal():
        raise InvalidRequestError("limit is a whole number, or none")
    return min(int(text), _MOST) if len(text) <= len(str(_MOST)) else _MOST
