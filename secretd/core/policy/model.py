"""The words of policies: capabilities, rules, limits. Data only; ``acl.py`` gives them their meaning."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Capability(enum.IntEnum):
    """What a rule grants, as bits. An IntEnum and not an IntFlag: ``&`` on these stays plain int, 20 times
    faster, and every request does it.
    """

    CREATE = 1
    READ = 2
    UPDATE = 4
    DELETE = 8
    LIST = 16
    PATCH = 32
    SCAN = 64
    SUDO = 128
    DENY = 256


NAMES = {capability.name.lower(): capability for capability in Capability}

_READ = Capability.READ | Capability.LIST
_WRITE = _READ | Capability.CREATE | Capability.UPDATE | Capability.DELETE
# The shorthand of Vault's first policies, `policy = "write"`; still in many people's files.
LEGACY = {
    "deny": int(Capability.DENY),
    "read": int(_READ),
    "write": int(_WRITE),
    "sudo": int(_WRITE | Capability.SUDO),
}


class Limits(msgspec.Struct, frozen=True):
    """What a rule demands of a request besides the capability.

    Parameter names are lower case; an empty tuple of values means any value. TTLs are seconds, 0 is unset.
    """

    allowed: dict[str, tuple[Any, ...]] = {}
    denied: dict[str, tuple[Any, ...]] = {}
    required: tuple[str, ...] = ()
    min_wrapping_ttl: int = 0
    max_wrapping_ttl: int = 0


class Rule(msgspec.Struct, frozen=True):
    """One ``path`` block. ``capabilities`` are the bits of :class:`Capability`; DENY stands alone."""

    path: str  # as written, less the leading slash and, on a prefix rule, the closing `*`
    capabilities: int
    is_prefix: bool = False
    has_wildcards: bool = False  # Vault's test, `+` at the start of any segment
    limits: Limits | None = None


class Policy(msgspec.Struct, frozen=True):
    """A named text and what it says. The text is kept byte for byte, for reading it back."""

    name: str
    text: str
    rules: tuple[Rule, ...] = ()
