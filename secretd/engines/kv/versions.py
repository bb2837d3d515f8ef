"""Deleting, undeleting and destroying chosen versions of a secret of KV v2."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from secretd.engines.kv.schemas import Numbers
from secretd.engines.kv.secret import Secret, Version, lifetime
from secretd.engines.kv.shelf import Held, find_config, hold, is_gone, now_text
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.request import Call


async def delete(call: Call, fields: Numbers) -> None:
    """Delete versions; ``undelete`` brings them back."""
    numbers = _require_numbers(fields, "No version number provided")

    async def mark(held: Held, secret: Secret, number: int, version: Version) -> None:
        if not is_gone(version, call):
            version.deletion_time = now_text(call)

    await _change(call, fields.path, numbers, mark)


async def undelete(call: Call, fields: Numbers) -> None:
    """Bring deleted versions back. What is destroyed stays so; a limited life begins anew."""
    numbers = _require_numbers(fields, "No version number provided")
    config = await find_config(call.view)

    async def revive(held: Held, secret: Secret, number: int, version: Version) -> None:
        if not version.is_destroyed:
            span = lifetime(secret, config)
            version.deletion_time = now_text(call, after=span) if span else ""

    await _change(call, fields.path, numbers, revive)


async def destroy(call: Call, fields: Numbers) -> None:
    """Remove the data of versions for good."""
    numbers = _require_numbers(fields, "no version number provided")

    async def burn(held: Held, secret: Secret, number: int, version: Version) -> None:
        if not version.is_destroyed:
            version.is_destroyed = True
            await held.drop_data(secret, number)

    await _change(call, fields.path, numbers, burn)


async def _change(
    call: Call,
    path: str,
    numbers: list[int],
    deed: Callable[[Held, Secret, int, Version], Awaitable[None]],
) -> None:
    """Do the deed to each version that is there; missing ones, and a missing secret, are no error."""

    async def change(held: Held) -> None:
        if held.secret is None:
            return
        for number in numbers:
            if version := held.secret.versions.get(number):
                await deed(held, held.secret, number, version)
        await held.save(held.secret)

    await hold(call, path, change)


def _require_numbers(fields: Numbers, message: str) -> list[int]:
    given = fields.versions
    if isinstance(given, int):
        return [given]
    if isinstance(given, list) and given:
        return list(dict.fromkeys(given))
    if isinstance(given, str) and given.strip():
        with contextlib.suppress(ValueError):
            return list(dict.fromkeys(int(part) for part in given.split(",")))
        raise InvalidRequestError("field versions: numbers are wanted")
    raise InvalidRequestError(message)
