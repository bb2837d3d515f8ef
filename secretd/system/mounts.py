"""``sys/mounts``, ``sys/auth``, ``sys/remount``: engines and auth methods at their paths.

A mount is usable, moved or gone for the next request of any daemon when the call has answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from secretd.core.mounts.model import FIXED, RESERVED, MountConfig, MountRecord, clean_path
from secretd.core.parts import Parts
from secretd.crypto.digest import random_uuid
from secretd.sdk.errors import InvalidRequestError, NotFoundError, UnavailableError
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import DELETE, READ, UPDATE, Call
from secretd.sdk.response import Response
from secretd.sdk.storage import decode, encode
from secretd.storage.view import EntryView
from secretd.system.call import wait_for
from secretd.system.mount_fields import (
    EnableFields,
    MigrationFields,
    PathFields,
    RemountFields,
    TuneFields,
    Tuning,
    shown_mount,
    shown_tuning,
    texts,
    tuned,
)

_AUTH = "auth/"
_NOT_MOUNTABLE = frozenset({"system", "token", "cubbyhole", "identity", "ns_cubbyhole"})
_PAUSE = 0.25  # seconds between looks


class _Migration(msgspec.Struct):
    """A move that was done."""

    source: str
    target: str


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    engines, methods, move = Mounts(parts, "secret"), Mounts(parts, "auth"), Move(parts)
    return (
        Path(READ, "mounts", Nothing, engines.list_all),
        Path(READ, "mounts/{path*}/tune", PathFields, engines.read_tuning),
        Path(UPDATE, "mounts/{path*}/tune", TuneFields, engines.tune),
        Path(READ, "mounts/{path*}", PathFields, engines.read),
        Path(UPDATE, "mounts/{path*}", EnableFields, engines.enable),
        Path(DELETE, "mounts/{path*}", PathFields, engines.disable),
        Path(READ, "auth", Nothing, methods.list_all),
        Path(READ, "auth/{path*}/tune", PathFields, methods.read_tuning, sudo=True),
        Path(UPDATE, "auth/{path*}/tune", TuneFields, methods.tune, sudo=True),
        Path(READ, "auth/{path*}", PathFields, methods.read, sudo=True),
        Path(UPDATE, "auth/{path*}", EnableFields, methods.enable, sudo=True),
        Path(DELETE, "auth/{path*}", PathFields, methods.disable, sudo=True),
        Path(UPDATE, "remount", RemountFields, move.remount, sudo=True),
        Path(READ, "remount/status/{id}", MigrationFields, move.status),
    )


async def find_mount(parts: Parts, path: str) -> MountRecord | None:
    """The mount at exactly this path, one that is being disabled included; read from storage, not from a cache."""
    return next((record for record in await parts.mounts.load() if record.path == path), None)


def require_mountable(path: str) -> None:
    """Raise for a path that no mount of secrets may have."""
    if path in FIXED or path.startswith(RESERVED):
        raise InvalidRequestError(f'cannot mount "{path}"')


class Mounts:
    """Mounts of one kind: of secrets, or of logins (stored under ``auth/``, named without it)."""

    def __init__(self, parts: Parts, kind: Literal["secret", "auth"]) -> None:
        self._parts = parts
        self._kind: Literal["secret", "auth"] = kind
        self._prefix = _AUTH if kind == "auth" else ""

    async def list_all(self, call: Call, fields: Nothing) -> Response:
        """List the mounts."""
        found = {
            record.path.removeprefix(self._prefix): self._shown(record)
            for record in await self._parts.mounts.load()
            if record.is_active and record.path.startswith(_AUTH) == (self._kind == "auth")
        }
        return Response(data=found, spread=True)

    async def read(self, call: Call, fields: PathFields) -> Response:
        """Read one mount."""
        path = clean_path(fields.path)
        record = await find_mount(self._parts, self._prefix + path)
        if record is None or not record.is_active:
            what = "auth engine" if self._kind == "auth" else "secret engine mount"
            raise InvalidRequestError(f"No {what} at {path}")
        return Response(data=self._shown(record), spread=True)

    async def enable(self, call: Call, fields: EnableFields) -> None:
        """Make a mount. It is usable when this answers."""
        path = self._prefix + clean_path(fields.path)
        if self._kind == "secret":
            require_mountable(path)
        type_, options = _type_and_options(fields)
        config = tuned(MountConfig(), fields.config or Tuning(), max_ttl=self._parts.caches.max_ttl)
        config = msgspec.structs.replace(
            config,
            description=fields.description or "",
            options=options,
            local=bool(fields.local),
            seal_wrap=bool(fields.seal_wrap),
            external_entropy_access=bool(fields.external_entropy_access),
        )
        await self._parts.mounts.enable(self._kind, path, type_, config)

    async def disable(self, call: Call, fields: PathFields) -> Response | None:
        """End a mount: its leases first, then what it stored. What is not there is gone already."""
        path = self._prefix + clean_path(fields.path)
        if path == "auth/token/":
            raise InvalidRequestError("token credential backend cannot be disabled")
        if path in FIXED:
            raise InvalidRequestError(f'cannot unmount "{path}"')
        record = await find_mount(self._parts, path)
        if record is None:
            return None
        due = await self._parts.mounts.begin_disabling(record)
        await self._parts.caches.refresh()
        self._parts.revoker.wake()
        deadline = self._parts.about.request_deadline
        try:
            await wait_for(self._finish(record, due), deadline=deadline, what="the mount's leases are")
        except UnavailableError as delay:
            # Nobody can use the mount any more, and nothing is left to the caller: secretd goes on until it is done.
            call.warn(f"{delay.message}; the mount is disabling and will be gone when its leases are over")
            return Response()
        return None

    async def _finish(self, record: MountRecord, due: Sequence[str]) -> None:
        """Wait for the leases of the mount itself; those of its logins' tokens are at other mounts and follow."""
        mounts = self._parts.mounts
        if record.kind == "secret":
            await self._parts.revoker.wait_until_over(dict.fromkeys(due, 0))
        while not await mounts.finish_disabling(record):
            await asyncio.sleep(_PAUSE)  # for leases that were ending already, here or on another daemon

    async def read_tuning(self, call: Call, fields: PathFields) -> Response:
        """Read what a mount was tuned to."""
        record = await self._find(fields.path)
        if record is None:
            raise InvalidRequestError(
                f'cannot fetch sysview for path "{self._prefix}{clean_path(fields.path)}"'
            )
        caches = self._parts.caches
        data = shown_tuning(record, default_ttl=caches.default_ttl, max_ttl=caches.max_ttl)
        return Response(data=data, spread=True)

    async def tune(self, call: Call, fields: TuneFields) -> None:
        """Tune a mount; what is not said stays."""
        record = await self._find(fields.path)
        if record is None:
            path = self._prefix + clean_path(fields.path)
            raise InvalidRequestError(f'tune of path "{path}" failed: no mount entry found')
        config = tuned(record.config, fields, max_ttl=self._parts.caches.max_ttl)
        if fields.description is not None:
            config = msgspec.structs.replace(config, description=fields.description)
        if fields.options:
            options = await self._changed_options(record, texts(fields.options))
            config = msgspec.structs.replace(config, options=options)
        if fields.user_lockout_config:
            call.warn("user_lockout_config is not supported yet")
        await self._parts.mounts.tune(record, config)

    async def _changed_options(self, record: MountRecord, said: dict[str, str]) -> dict[str, str]:
        """A kv mount's version goes up while it is empty, and never down."""
        had = (record.config.options or {}).get("version", "1")
        wanted = said.get("version", had)
        if record.type == "kv" and wanted != had:
            if had == "2":
                raise InvalidRequestError("cannot downgrade mount from version 2")
            if wanted != "2":
                raise InvalidRequestError("a kv mount has version 1 or 2")
            if await self._parts.mounts.view(record.id).list("", limit=1):
                raise InvalidRequestError(
                    "this mount holds secrets without versions",
                    hint="make another mount of version 2 and copy them",
                )
        return {**(record.config.options or {}), **said}

    async def _find(self, path: str) -> MountRecord | None:
        record = await find_mount(self._parts, self._prefix + clean_path(path))
        return record if record is not None and record.is_active else None

    def _shown(self, record: MountRecord) -> dict[str, Any]:
        return shown_mount(record, version=self._parts.about.version)


class Move:
    """Gives a mount another path; its leases, tokens and storage go with it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def remount(self, call: Call, fields: RemountFields) -> Response:
        """Move a mount. It is done when this answers; the id is for those who ask again."""
        if not fields.from_ or not fields.to:
            raise InvalidRequestError("both 'from' and 'to' path must be specified as a string")
        source, target = clean_path(fields.from_), clean_path(fields.to)
        _require_movable(source, target)
        record = await find_mount(self._parts, source)
        if record is None or not record.is_active:
            raise InvalidRequestError(f'no matching mount at "{source}"')
        await self._parts.mounts.move(record, target)
        migration_id = random_uuid()
        await self._view().put("migrations/" + migration_id, encode(_Migration(source, target)))
        return Response(data={"migration_id": migration_id}, spread=True)

    async def status(self, call: Call, fields: MigrationFields) -> Response:
        """How a move went."""
        entry = await self._view().get("migrations/" + fields.id)
        if entry is None:
            raise NotFoundError
        done = decode(entry.value, _Migration)
        info = {"source_mount": done.source, "target_mount": done.target, "status": "success"}
        return Response(data={"migration_id": fields.id, "migration_info": info})

    def _view(self) -> EntryView:
        return EntryView(self._parts.pool, self._parts.barrier, prefix="core/")


def _require_movable(source: str, target: str) -> None:
    if source in FIXED:
        raise InvalidRequestError(f'cannot remount "{source}"')
    is_auth = source.startswith(_AUTH)
    if is_auth and (not target.startswith(_AUTH) or target == _AUTH):
        raise InvalidRequestError(f'cannot remount auth mount to non-auth mount "{target}"')
    if not is_auth and (target in FIXED or target.startswith(RESERVED)):
        raise InvalidRequestError(f'cannot remount to "{target}"')


def _type_and_options(fields: EnableFields) -> tuple[str, dict[str, str] | None]:
    """The mount's type in its present name, and its options; ``generic`` and ``kv-v2`` are names of kv."""
    type_ = fields.type or ""
    if type_ in {"", "plugin"}:
        type_ = fields.plugin_name or ""
    if not type_:
        raise InvalidRequestError("backend type must be specified as a string")
    if type_ in _NOT_MOUNTABLE:
        raise InvalidRequestError(f'mount type of "{type_}" is not mountable')
    said = fields.options
    if said is None and fields.config is not None:
        said = fields.config.options
    options = texts(said)
    if type_ in {"kv-v2", "kv-v1"}:
        options["version"] = type_[-1]
    if type_ in {"generic", "kv-v2", "kv-v1", "kv"}:
        if options.get("version", "1") not in {"1", "2"}:
            raise InvalidRequestError("a kv mount has version 1 or 2")
        type_ = "kv"
    return type_, options
