"""The policies that exist without being written, and the one form of a policy's name.

A name is compared, stored and attached in its canonical form only. ``root`` is a name like any other to this
module; who may attach it is decided where tokens are made, and there it can only ever look like ``root``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from secretd.core.policy.acl import ROOT
from secretd.core.policy.model import Policy
from secretd.sdk.errors import InvalidRequestError

DEFAULT = "default"
RESPONSE_WRAPPING = "response-wrapping"

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.@:/-]{0,127}")

ROOT_POLICY = Policy(name=ROOT, text="")

DEFAULT_TEXT = """\
# What every token may do unless it was made without this policy. Edit it freely; it cannot be deleted.

# Its own token: look, prolong, end.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# What it may do, before it tries.
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}

# The entity behind it. Grants nothing to a token without one.
path "identity/entity/id/{{identity.entity.id}}" {
  capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
  capabilities = ["read"]
}

# A lease whose id it knows; the id is what proves the right to ask.
path "sys/leases/lookup" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/renew" {
  capabilities = ["update"]
}

# A store of its own, which dies with it.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Put a value in an envelope, look at the envelope, open it.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}

# Digests of what it sends.
path "sys/tools/hash" {
  capabilities = ["update"]
}
path "sys/tools/hash/*" {
  capabilities = ["update"]
}

# Log in to others by way of our OIDC provider.
path "identity/oidc/provider/+/authorize" {
  capabilities = ["read", "update"]
}
"""

# Held by a wrapping token and by nothing else; never assigned by hand.
RESPONSE_WRAPPING_TEXT = """\
path "cubbyhole/response" {
  capabilities = ["create", "read"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
"""


def normalise_policy_name(name: str) -> str:
    """Return the canonical form; raise InvalidRequestError for what is no name.

    ASCII is checked before lower-casing: some letters outside it (KELVIN SIGN) become ASCII by it.
    """
    stripped = name.strip(" \t\r\n")
    canonical = stripped.lower() if stripped.isascii() else ""
    if not _NAME.fullmatch(canonical):
        raise InvalidRequestError(
            "a policy name is up to 128 letters, digits and _ . @ : / - and starts with a letter, digit or _"
        )
    return canonical


def normalise_policy_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return canonical names, each once, sorted, no empty ones. With ``root`` among them, only ``root``."""
    found = {normalise_policy_name(name) for name in names if name.strip(" \t\r\n")}
    return (ROOT,) if ROOT in found else tuple(sorted(found))


def require_assignable(names: Iterable[str]) -> None:
    """Raise InvalidRequestError if a canonical name is one that only secretd itself attaches."""
    if RESPONSE_WRAPPING in names:
        raise InvalidRequestError(f'cannot assign policy "{RESPONSE_WRAPPING}"')


def require_writable(name: str) -> None:
    """Raise InvalidRequestError for a canonical name whose text is not the operator's to write."""
    if name in {ROOT, RESPONSE_WRAPPING}:
        raise InvalidRequestError(f'cannot update "{name}" policy')


def require_deletable(name: str) -> None:
    """Raise InvalidRequestError for a canonical name that must stay."""
    if name in {ROOT, RESPONSE_WRAPPING, DEFAULT}:
        raise InvalidRequestError(f'cannot delete "{name}" policy')
