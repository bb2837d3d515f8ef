"""Shapes: what callers write and what is stored. Spans are seconds; names are lower case.

``role/{name}`` is a role, ``role-id/{digest}`` the name that a role id stands for, ``secret/{role's id}/{digest}``
a secret id, ``accessor/{role's id}/{accessor}`` the digest of the secret id that it names. A role's ``id`` is
drawn when it is made: a role that is deleted and made again has none of the old secret ids.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime

import msgspec

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import NAME, Duration, Sensitive, Strings
from secretd.sdk.token_fields import TokenFields, TokenParameters


def _no_secret() -> Sensitive:
    """The empty one; made anew because a default value would stand in OpenAPI, where no Sensitive may."""
    return Sensitive("")


class Named(msgspec.Struct):
    """A path's role."""

    role_name: str


class RoleFields(TokenFields, kw_only=True):
    """``role/{role_name}``. Absent = as it was."""

    role_name: str
    role_id: str | None = None
    bind_secret_id: bool | None = None
    secret_id_num_uses: int | None = None
    secret_id_ttl: Duration | None = None
    secret_id_bound_cidrs: Strings | None = None


class RoleIdFields(msgspec.Struct, kw_only=True):
    """``role/{role_name}/role-id``."""

    role_name: str
    role_id: str = ""


class SecretIdFields(msgspec.Struct, kw_only=True):
    """``role/{role_name}/secret-id``. TTL and uses may be less than the role's, never more."""

    role_name: str
    metadata: str | dict[str, str] = ""
    cidr_list: Strings = Strings()
    token_bound_cidrs: Strings = Strings()
    num_uses: int | None = None
    ttl: Duration | None = None


class CustomSecretIdFields(SecretIdFields, kw_only=True):
    """``role/{role_name}/custom-secret-id``: the caller brings the secret."""

    secret_id: Sensitive = msgspec.field(default_factory=_no_secret)


class SecretIdLookup(msgspec.Struct, kw_only=True):
    """A secret id of a role."""

    role_name: str
    secret_id: Sensitive = msgspec.field(default_factory=_no_secret)


class AccessorFields(msgspec.Struct, kw_only=True):
    """An accessor of a role's secret id."""

    role_name: str
    secret_id_accessor: str = ""


class Login(msgspec.Struct, kw_only=True):
    """``login``."""

    role_id: str = ""
    secret_id: Sensitive = msgspec.field(default_factory=_no_secret)


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role as stored."""

    id: str
    role_id: str
    bind_secret_id: bool = True
    secret_id_num_uses: int = 0
    secret_id_ttl: int = 0
    secret_id_bound_cidrs: tuple[str, ...] = ()
    token: TokenParameters = TokenParameters()


class RoleId(msgspec.Struct, frozen=True, kw_only=True):
    """Whose role id a digest is."""

    role_name: str


class SecretId(msgspec.Struct, frozen=True, kw_only=True):
    """A secret id as stored, without itself. ``uses_left`` 0 = no limit; times by storage's clock."""

    accessor: str
    creation_time: datetime
    updated_time: datetime
    expire_time: datetime | None
    ttl: int
    uses_left: int
    metadata: dict[str, str]
    cidr_list: tuple[str, ...]


class Accessor(msgspec.Struct, frozen=True, kw_only=True):
    """The secret id that an accessor names."""

    digest: str


def get_name(text: str) -> str:
    """The canonical name of a role; InvalidRequestError for what is none."""
    if not NAME.match(text):
        raise InvalidRequestError("a role's name has letters, digits, '_', '-' and '.', at most 128 of them")
    return text.lower()


def role_key(name: str) -> str:
    """Where a role is stored."""
    return f"role/{name}"


def secret_key(role: Role, digest: str) -> str:
    """Where a secret id of the role is stored."""
    return f"secret/{role.id}/{digest}"


def accessor_key(role: Role, accessor: str) -> str:
    """Where an accessor of the role is stored."""
    return f"accessor/{role.id}/{accessor}"


def networks(name: str, texts: Strings) -> tuple[str, ...]:
    """CIDR texts in one spelling; InvalidRequestError names the field."""
    try:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in texts)
    except ValueError:
        raise InvalidRequestError(f"{name} has an entry that is no address and no CIDR block") from None


def is_within(address: str, blocks: tuple[str, ...]) -> bool:
    """Whether a client's address is in one of the blocks; no blocks bind nobody, no address is in none."""
    if not blocks:
        return True
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return any(client in ipaddress.ip_network(block) for block in blocks)
