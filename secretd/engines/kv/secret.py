"""A secret of KV v2 as it is stored, and the rules of its versions. No I/O, no clock.

1. The current version's data lies in the same entry as the metadata, so that the common read is one row.
   Older data lies in entries of its own, as JSON; each moves there once, when the next version comes.
2. Versions are counted from 1, a number is never used twice, and only destroying or pruning loses data.
3. A version's deletion is a time. It may lie ahead, and undeleting removes it.
4. A mount keeps the larger of its own and the secret's ``max_versions``, and 10 if neither says.
5. A version lives for the shorter of both ``delete_version_after``; a mount's negative one means forever.

Times are RFC 3339 text of one width in UTC: they compare as text.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from secretd.sdk.errors import InvalidRequestError

CONFIG_KEY = "config"
CURRENT = "current/"  # + path
_KEPT = 10  # versions, unless somebody says otherwise


class Config(msgspec.Struct, omit_defaults=True):
    """What a mount wants of all its secrets. ``delete_version_after`` in seconds; 0 = not set, negative = never."""

    max_versions: int = 0
    cas_required: bool = False
    delete_version_after: int = 0
    metadata_cas_required: bool = False


class Version(msgspec.Struct, array_like=True):
    """One version's life. ``deletion_time`` "" = none."""

    created_time: str
    deletion_time: str = ""
    is_destroyed: bool = False


class Secret(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Everything of a secret but its older data. ``data``: JSON of the current version; None = there is none."""

    created_time: str
    updated_time: str
    current: int = 0
    oldest: int = 0
    versions: dict[int, Version] = {}
    data: bytes | None = None
    custom: dict[str, str] = {}
    max_versions: int = 0
    cas_required: bool = False
    delete_version_after: int = 0
    metadata_cas_required: bool = False
    metadata_version: int = 0

    def __repr__(self) -> str:
        return f"Secret(current={self.current})"

    def __rich_repr__(self) -> list[Any]:
        return []

    def pick(self, wanted: int) -> tuple[int, Version | None]:
        """A version by its number; not above 0 = the current one."""
        number = wanted if wanted > 0 else self.current
        return number, self.versions.get(number)

    def add(self, data: bytes, *, now: str, deletion_time: str, kept: int) -> list[int]:
        """Make this the current data; return the numbers of the versions that are pruned for it."""
        self.current += 1
        self.updated_time = now
        self.data = data
        self.versions[self.current] = Version(now, deletion_time)
        if self.current < kept:
            return []
        self.oldest = max(self.oldest, self.current - kept + 1)
        pruned = [number for number in self.versions if number < self.oldest]
        for number in pruned:
            del self.versions[number]
        return pruned


def key_of(path: str) -> str:
    """Where a secret and its current data lie."""
    return CURRENT + path


def past_of(path: str) -> str:
    """The folder of a secret's older data.

    Named by a digest of one length: the path ``a`` must not have ``a/1`` below it, and a secret that could
    be written once must not be too long a key the second time.
    """
    return f"past/{hashlib.sha256(path.encode()).hexdigest()}/"


def facts(number: int, version: Version, secret: Secret) -> dict[str, Any]:
    """A version's metadata, as answers show it."""
    return {
        "created_time": version.created_time,
        "custom_metadata": secret.custom or None,
        "deletion_time": version.deletion_time,
        "destroyed": version.is_destroyed,
        "version": number,
    }


def versions_kept(secret: Secret, config: Config) -> int:
    """How many versions stay (rule 4)."""
    return max(secret.max_versions, config.max_versions) or _KEPT


def lifetime(secret: Secret, config: Config) -> int:
    """Seconds that a version lives (rule 5); 0 = until somebody deletes it."""
    if config.delete_version_after < 0:
        return 0
    spans = (secret.delete_version_after, config.delete_version_after)
    return min((span for span in spans if span > 0), default=0)


def require_cas(options: dict[str, Any] | None, secret: Secret | None, config: Config) -> None:
    """Check-and-set, before a write: the caller has seen the version that it replaces."""
    current = 0 if secret is None else secret.current
    if options is None or "cas" not in options:
        if config.cas_required or (secret is not None and secret.cas_required):
            raise InvalidRequestError("check-and-set parameter required for this call")
        return
    if _parse_cas(options["cas"]) != current:
        raise InvalidRequestError("check-and-set parameter did not match the current version")


def _parse_cas(value: Any) -> int:
    if value is None:  # a client that sends its empty field must not overwrite by that
        return 0
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise InvalidRequestError("error parsing check-and-set parameter")
