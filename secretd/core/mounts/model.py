"""A mount's record and its rules, without I/O."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from secretd.sdk.engine import Mount
from secretd.sdk.errors import InvalidRequestError

Kind = Literal["secret", "auth", "system"]
_PATH = re.compile(r"[^\x00-\x20\x7f*+{}\\%?#]+\Z")
_LONGEST = 256
RESERVED = ("sys/", "auth/", "identity/", "audit/")
FIXED = ("sys/", "auth/token/", "cubbyhole/")  # these cannot be disabled


class MountConfig(msgspec.Struct, omit_defaults=True):
    """What a mount was tuned to. Spans are seconds; 0 = the system's."""

    description: str = ""
    uuid: str = ""
    default_lease_ttl: int = 0
    max_lease_ttl: int = 0
    options: dict[str, str] | None = None
    force_no_cache: bool = False
    local: bool = False
    seal_wrap: bool = False
    external_entropy_access: bool = False
    listing_visibility: str = ""
    token_type: str = ""
    plugin_version: str = ""
    audit_non_hmac_request_keys: list[str] = []
    audit_non_hmac_response_keys: list[str] = []
    passthrough_request_headers: list[str] = []
    allowed_response_headers: list[str] = []


class MountRecord(msgspec.Struct):
    """One row of ``mounts``. ``path`` ends in ``/`` and, for an auth method, begins with ``auth/``."""

    id: str
    kind: Kind
    path: str
    type: str
    accessor: str
    state: str
    config: MountConfig

    @property
    def is_active(self) -> bool:
        """Whether it is routable."""
        return self.state == "active"

    def seen(self, *, default_ttl: int, max_ttl: int) -> Mount:
        """The mount as its engine sees it, with the system's spans where it has none of its own."""
        longest = self.config.max_lease_ttl or max_ttl
        return Mount(
            id=self.id,
            path=self.path,
            accessor=self.accessor,
            type=self.type,
            default_lease_ttl=min(self.config.default_lease_ttl or default_ttl, longest),
            max_lease_ttl=longest,
            options=self.config.options or {},
        )


def clean_path(text: str) -> str:
    """A mount path in its one form, ``a/b/``; InvalidRequestError if it cannot be one."""
    path = text.strip("/") + "/"
    parts = path[:-1].split("/")
    if len(path) > _LONGEST or not _PATH.match(path[:-1]) or any(part in {"", ".", ".."} for part in parts):
        raise InvalidRequestError(
            "a mount path is letters, digits and the like, in parts separated by single slashes"
        )
    return path


def require_free(path: str, taken: list[str]) -> None:
    """Raise unless no other mount is at, above or below the path: a request must mean one mount."""
    for other in taken:
        if path == other or path.startswith(other) or other.startswith(path):
            raise InvalidRequestError(f"path is already in use at {other}")
