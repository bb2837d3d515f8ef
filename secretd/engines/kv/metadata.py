"""A secret's metadata in KV v2: its versions' lives, its settings, its owner's own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from secretd.engines.kv.schemas import Metadata, Named
from secretd.engines.kv.secret import CURRENT, Config, Secret, key_of, past_of
from secretd.engines.kv.settings import apply
from secretd.engines.kv.shelf import Held, find_config, hold, now_text, require_name
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.fields import go_duration
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import find

_MOST_KEYS, _LONGEST_KEY, _LONGEST_VALUE = 64, 128, 512  # the lengths in bytes
_SETTINGS = (
    "cas_required", "custom_metadata", "delete_version_after", "max_versions", "metadata_cas_required",
)  # fmt: skip


async def read(call: Call, fields: Named) -> Response:
    """Read a secret's settings and the lives of its versions."""
    secret = await find(call.view, key_of(fields.path), Secret)
    if secret is None:
        raise NotFoundError
    return Response(data=_show(secret))


async def write(call: Call, fields: Metadata) -> None:
    """Change a secret's settings; ``custom_metadata`` is replaced whole. The secret need not be there yet."""
    await _change(call, fields, customise=_replace_words, may_create=True)


async def patch(call: Call, fields: Metadata) -> None:
    """Change a secret's settings; ``custom_metadata`` is merged, null removes a key."""
    await _change(call, fields, customise=_merge_words, may_create=False)


async def delete(call: Call, fields: Named) -> None:
    """Remove a secret with all its versions, for good."""

    async def remove(held: Held) -> None:
        if held.secret is not None:
            await held.view.delete(key_of(fields.path))
            await held.view.delete_prefix(past_of(fields.path))

    await hold(call, fields.path, remove)


async def list_names(call: Call, fields: Named) -> Response:
    """List the secrets of a folder; a name that ends in ``/`` is a folder itself."""
    folder = fields.path if not fields.path or fields.path.endswith("/") else fields.path + "/"
    after, limit = call.list_pages
    return names(await call.view.list(CURRENT + folder, after=after, limit=limit))


async def list_root(call: Call, fields: Nothing) -> Response:
    """List the secrets of the mount; a name that ends in ``/`` is a folder."""
    return await list_names(call, Named(path=""))


async def _change(
    call: Call,
    fields: Metadata,
    *,
    customise: Callable[[dict[str, str], dict[str, Any] | None], dict[str, str]],
    may_create: bool,
) -> None:
    require_name(fields.path)
    if all(getattr(fields, name) is UNSET for name in _SETTINGS):
        return
    if isinstance(fields.delete_version_after, int) and fields.delete_version_after < 0:
        raise InvalidRequestError("field delete_version_after: cannot be negative")
    config = await find_config(call.view)

    async def change(held: Held) -> None:
        if held.secret is None and not may_create:
            raise NotFoundError
        now = now_text(call)
        secret = held.secret or Secret(created_time=now, updated_time=now)
        _require_metadata_cas(fields, secret, config)
        apply(fields, secret)
        if fields.custom_metadata is not UNSET:
            secret.custom = customise(secret.custom, fields.custom_metadata)
        secret.updated_time = now
        secret.metadata_version += 1
        await held.save(secret)

    await hold(call, fields.path, change)


def _require_metadata_cas(fields: Metadata, secret: Secret, config: Config) -> None:
    if fields.metadata_cas is UNSET:
        if secret.metadata_cas_required or config.metadata_cas_required:
            raise InvalidRequestError("metadata check-and-set parameter required for this call")
    elif (fields.metadata_cas or 0) != secret.metadata_version:
        raise InvalidRequestError("metadata check-and-set parameter does not match the current version")


def _replace_words(_old: dict[str, str], new: dict[str, Any] | None) -> dict[str, str]:
    return _require_words(new or {})


def _merge_words(old: dict[str, str], changes: dict[str, Any] | None) -> dict[str, str]:
    if changes is None:
        return {}
    merged = {**old, **changes}
    return _require_words({name: value for name, value in merged.items() if value is not None})


def _require_words(words: dict[str, Any]) -> dict[str, str]:
    """The words as text. InvalidRequestError says which rule was broken, not by what."""
    if len(words) > _MOST_KEYS:
        raise _refusal(f"payload must contain at most {_MOST_KEYS} keys, provided {len(words)}")
    found = {}
    for name, value in words.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise _refusal("values must be text")
        found[name] = str(value)
        _require_length("key", name, _LONGEST_KEY)
        _require_length("value", found[name], _LONGEST_VALUE)
    return found


def _require_length(what: str, text: str, longest: int) -> None:
    size = len(text.encode())
    if not 0 < size <= longest:
        raise _refusal(f"length of {what} is {size} but must be 0 < len({what}) <= {longest}")
    if not text.isprintable():
        raise _refusal(f"a {what} contains unprintable characters")


def _refusal(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"custom_metadata validation failed: {reason}")


def _show(secret: Secret) -> dict[str, Any]:
    return {
        "cas_required": secret.cas_required,
        "created_time": secret.created_time,
        "current_metadata_version": secret.metadata_version,
        "current_version": secret.current,
        "custom_metadata": secret.custom or None,
        "delete_version_after": go_duration(secret.delete_version_after),
        "max_versions": secret.max_versions,
        "metadata_cas_required": secret.metadata_cas_required,
        "oldest_version": secret.oldest,
        "updated_time": secret.updated_time,
        "versions": {
            str(number): {
                "created_time": version.created_time,
                "deletion_time": version.deletion_time,
                "destroyed": version.is_destroyed,
            }
            for number, version in secret.versions.items()
        },
    }
