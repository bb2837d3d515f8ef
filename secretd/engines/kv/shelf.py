"""Where secrets of KV v2 lie: reading one, and changing one that nobody else changes meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from secretd.engines.kv.secret import (
    CONFIG_KEY,
    Config,
    Secret,
    Version,
    facts,
    key_of,
    lifetime,
    past_of,
    versions_kept,
)
from secretd.sdk.clock import rfc3339
from secretd.sdk.errors import ConflictError, InvalidRequestError, NotFoundError
from secretd.sdk.request import Call
from secretd.sdk.response import Response
from secretd.sdk.storage import NEW, View, decode, find, save

R = TypeVar("R")
_ATTEMPTS = 5  # of a first write that others overtake


def now_text(call: Call, *, after: int = 0) -> str:
    """This moment, or the one ``after`` seconds later."""
    return rfc3339(call.system.clock.now() + timedelta(seconds=after)) or ""


def is_gone(version: Version, call: Call) -> bool:
    """Whether a version is deleted or destroyed at this moment."""
    return version.is_destroyed or (version.deletion_time != "" and version.deletion_time <= now_text(call))


async def find_config(view: View) -> Config:
    """The mount's settings."""
    return await find(view, CONFIG_KEY, Config) or Config()


def require_name(path: str) -> None:
    """Refuse to write to a folder: no read would find it there."""
    if not path or path.endswith("/"):
        raise InvalidRequestError("cannot write to a path ending in '/'")


async def exists(call: Call, fields: Any) -> bool:
    """Whether a secret is there, for the policies: its versions may all be deleted."""
    return await call.view.get(key_of(fields.path)) is not None


@dataclass(slots=True, frozen=True)
class Shown:
    """A version that was looked up. ``data`` is JSON, None if it is deleted or destroyed."""

    metadata: dict[str, Any]
    data: bytes | None

    def answer(self, name: str, value: Any) -> Response:
        """The value and the version's metadata: 404, with a body, where there is no data."""
        status = 404 if self.data is None else None
        return Response(data={name: value, "metadata": self.metadata}, status=status)


async def look(call: Call, path: str, wanted: int) -> Shown:
    """A version of a secret; one row for the current one. NotFoundError: no secret, or no such version."""
    secret = await find(call.view, key_of(path), Secret)
    if secret is None:
        raise NotFoundError
    number, version = secret.pick(wanted)
    if version is None:
        raise NotFoundError
    metadata = facts(number, version, secret)
    if is_gone(version, call):
        return Shown(metadata, None)
    if number == secret.current:
        return Shown(metadata, secret.data)
    entry = await call.view.get(f"{past_of(path)}{number}")
    if entry is None:  # pruned or destroyed since we read the secret
        raise NotFoundError
    return Shown(metadata, entry.value)


@dataclass(slots=True, frozen=True)
class Held:
    """A secret that a transaction holds: until it ends, nobody else writes it. ``row`` is its entry's version."""

    view: View
    path: str
    secret: Secret | None
    row: int

    async def save(self, secret: Secret) -> None:
        """Write the secret back."""
        await save(self.view, key_of(self.path), secret, version=self.row)

    async def add_version(self, call: Call, data: dict[str, Any], config: Config) -> Response:
        """Make the data the current version; the answer is its metadata."""
        now = now_text(call)
        secret = self.secret or Secret(created_time=now, updated_time=now)
        span = lifetime(secret, config)
        old_number, old_data = secret.current, secret.data
        pruned = secret.add(
            msgspec.json.encode(data),
            now=now,
            deletion_time=now_text(call, after=span) if span else "",
            kept=versions_kept(secret, config),
        )
        past = past_of(self.path)
        if old_data is not None and old_number in secret.versions:
            await self.view.put(f"{past}{old_number}", old_data, version=NEW)
        for number in pruned:
            if number != old_number:
                await self.view.delete(f"{past}{number}")
        await self.save(secret)
        return Response(data=facts(secret.current, secret.versions[secret.current], secret))

    async def drop_data(self, secret: Secret, number: int) -> None:
        """Destroy one version's data; the version stays listed."""
        if number == secret.current:
            secret.data = None
        else:
            await self.view.delete(f"{past_of(self.path)}{number}")


async def hold(call: Call, path: str, work: Callable[[Held], Awaitable[R]]) -> R:
    """Do work on a secret in one transaction.

    The row lock keeps other writers out, but there is nothing to lock before the first write: of several
    first writers one wins, and the others begin anew with what it wrote.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(ConflictError):
            async with call.view.transaction() as view:
                entry = await view.get(key_of(path))
                secret = None if entry is None else decode(entry.value, Secret)
                return await work(Held(view, path, secret, NEW if entry is None else entry.version))
    raise ConflictError
