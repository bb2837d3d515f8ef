"""What callers say of mounts, and how a mount is shown."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.core.mounts.model import MountConfig, MountRecord
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Duration, Strings

_TOKEN_TYPES = ("default-service", "service")
_VISIBILITIES = ("", "hidden", "unauth")
Seconds = int | float | str  # a duration, or "system" for the system's
Options = dict[str, str | int | float | bool]  # clients say {"version": 2}, too


class Tuning(msgspec.Struct):
    """What can be said of a mount when it is made and later. Null and absent mean: as it is."""

    default_lease_ttl: Seconds | None = None
    max_lease_ttl: Seconds | None = None
    force_no_cache: bool | None = None
    listing_visibility: str | None = None
    token_type: str | None = None
    plugin_version: str | None = None
    audit_non_hmac_request_keys: Strings | None = None
    audit_non_hmac_response_keys: Strings | None = None
    passthrough_request_headers: Strings | None = None
    allowed_response_headers: Strings | None = None
    options: Options | None = None


class EnableFields(msgspec.Struct):
    """A mount to make."""

    path: str
    type: str | None = None
    plugin_name: str | None = None
    plugin_version: str | None = None
    description: str | None = None
    config: Tuning | None = None
    options: Options | None = None
    local: bool | None = None
    seal_wrap: bool | None = None
    external_entropy_access: bool | None = None


class TuneFields(Tuning):
    """A mount to tune."""

    path: str = ""
    description: str | None = None
    user_lockout_config: dict[str, Any] | None = None


class PathFields(msgspec.Struct):
    """A mount's path."""

    path: str


class RemountFields(msgspec.Struct):
    """From where to where."""

    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None


class MigrationFields(msgspec.Struct):
    """A move by its id."""

    id: str


def texts(options: Options | None) -> dict[str, str]:
    """Options as they are kept and shown: texts."""
    return {name: str(value) for name, value in (options or {}).items()}


def tuned(config: MountConfig, fields: Tuning, *, max_ttl: int) -> MountConfig:
    """The configuration with what was said; InvalidRequestError for what cannot be. ``max_ttl``: the system's."""
    changes: dict[str, Any] = {}
    for name in ("default_lease_ttl", "max_lease_ttl"):
        said = getattr(fields, name)
        if said not in {None, ""}:  # Vault's command line sends "" for what it was not told
            changes[name] = _seconds(name, said)
    if fields.listing_visibility is not None:
        if fields.listing_visibility not in _VISIBILITIES:
            raise InvalidRequestError("invalid listing_visibility", hint="unauth or hidden")
        changes["listing_visibility"] = fields.listing_visibility
    if fields.token_type is not None:
        if fields.token_type not in _TOKEN_TYPES:
            raise InvalidRequestError(
                "invalid value for 'token_type'", hint="service tokens are the only ones yet"
            )
        changes["token_type"] = fields.token_type
    if fields.force_no_cache is not None:
        changes["force_no_cache"] = fields.force_no_cache
    for name in _LISTS:
        said = getattr(fields, name)
        if said is not None:
            changes[name] = list(said)
    new = msgspec.structs.replace(config, **changes)
    _require_spans(new, max_ttl=max_ttl)
    return new


_LISTS = (
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "passthrough_request_headers",
    "allowed_response_headers",
)


def _seconds(name: str, said: Seconds) -> int:
    if said == "system":
        return 0
    try:
        seconds = int(Duration.parse(said))
    except ValueError as error:
        raise InvalidRequestError(f"field {name}: {error}") from None
    if seconds < 0:
        raise InvalidRequestError(f"field {name}: a span is not negative")
    return seconds


def _require_spans(config: MountConfig, *, max_ttl: int) -> None:
    default, longest = config.default_lease_ttl, config.max_lease_ttl
    if longest and default > longest:
        raise InvalidRequestError("given default lease TTL greater than given max lease TTL")
    if not longest and default > max_ttl:
        raise InvalidRequestError(f"given default lease TTL greater than system max lease TTL of {max_ttl}")


def shown_config(record: MountRecord) -> dict[str, Any]:
    """A mount's own configuration: 0 = the system's."""
    config = record.config
    shown: dict[str, Any] = {
        "default_lease_ttl": config.default_lease_ttl,
        "max_lease_ttl": config.max_lease_ttl,
        "force_no_cache": config.force_no_cache,
    }
    return {**shown, **_optional(record)}


def _optional(record: MountRecord) -> dict[str, Any]:
    """What is told only where it was said."""
    config = record.config
    shown: dict[str, Any] = {name: getattr(config, name) for name in _LISTS if getattr(config, name)}
    if config.listing_visibility:
        shown["listing_visibility"] = config.listing_visibility
    if record.path.startswith("auth/"):
        shown["token_type"] = config.token_type or "default-service"
    return shown


def shown_tuning(record: MountRecord, *, default_ttl: int, max_ttl: int) -> dict[str, Any]:
    """What a mount was tuned to, with the system's spans where it has none of its own."""
    config, seen = record.config, record.seen(default_ttl=default_ttl, max_ttl=max_ttl)
    shown: dict[str, Any] = {
        "description": config.description,
        "default_lease_ttl": seen.default_lease_ttl,
        "max_lease_ttl": seen.max_lease_ttl,
        "force_no_cache": config.force_no_cache,
        **_optional(record),
    }
    if config.options:
        shown["options"] = config.options
    return shown


def shown_mount(record: MountRecord, *, version: str) -> dict[str, Any]:
    """A mount as it is listed."""
    config = record.config
    return {
        "type": record.type,
        "description": config.description,
        "accessor": record.accessor,
        "uuid": config.uuid,
        "config": shown_config(record),
        "options": config.options,
        "local": config.local,
        "seal_wrap": config.seal_wrap,
        "external_entropy_access": config.external_entropy_access,
        "plugin_version": config.plugin_version,
        "running_plugin_version": f"v{version}",
        "running_sha256": "",
        "deprecation_status": "supported",
    }
