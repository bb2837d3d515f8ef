"""The compiled form of a set of policies: which rule decides about a path, and what it grants.

1. Rules of one and the same path add up: capabilities unite, one ``deny`` silences all the others.
2. A rule that names the path exactly decides, whatever else matches.
3. A LIST asks for its path as it is and then without its closing slash: first both exactly, then both by
   pattern. Asking the bare path first would let `*` grant what `a/*` denies.
4. Among patterns the one with the longest text before its first ``+`` or its closing ``*`` decides; then one
   without ``*``, then one with fewer ``+`` segments, then the longer, then the greater in byte order.
5. One rule decides: rights of a shorter pattern do not shine through a longer one. No rule: no rights.

Patterns hang in buckets by that first text, so that a look-up is one slice and one dict probe for each
distinct length, longest first; the first match is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from secretd.core.policy.limits import merge_limits, require_parameters, require_wrapping
from secretd.core.policy.model import NAMES, Capability, Limits, Policy, Rule
from secretd.core.policy.templating import Expand, expand_path
from secretd.sdk.errors import PermissionDeniedError

ROOT = "root"

_DENY = int(Capability.DENY)
_SUDO = int(Capability.SUDO)
_LISTING = Capability.LIST | Capability.SCAN
# Vault looks at parameters only where they can change something, and at those of a read.
_WITH_PARAMETERS = Capability.CREATE | Capability.READ | Capability.UPDATE | Capability.PATCH


class Grant(msgspec.Struct, frozen=True):
    """What the rules of one pattern add up to."""

    pattern: str  # less the closing `*`
    bits: int
    limits: Limits | None
    is_prefix: bool
    segments: tuple[str, ...] | None  # of a pattern with `+`; None where comparing text is enough

    def matches(self, path: str) -> bool:
        """Whether a path is meant; the text before the first ``+`` has been compared already."""
        if self.segments is None:
            return True  # a bare prefix, and its bucket is all of it
        parts = path.split("/")
        last = len(self.segments) - 1
        if len(parts) <= last or (len(parts) > last + 1 and not self.is_prefix):
            return False
        return all(
            segment in ("+", part) or (index == last and self.is_prefix and part.startswith(segment))
            for index, (segment, part) in enumerate(zip(self.segments, parts, strict=False))
        )

    def sees(self, segments: list[str]) -> bool:
        """Whether a path below the mount of these segments could match a pattern with ``+``."""
        own = self.segments or ()
        if len(own) <= len(segments) and not self.is_prefix:
            return False
        last = len(own) - 1
        return all(
            mine in ("+", theirs) or (index == last and theirs.startswith(mine))
            for index, (mine, theirs) in enumerate(zip(own, segments, strict=False))
        )


class Acl:
    """Answers for one set of policies. Immutable; safe to share between requests."""

    __slots__ = ("_buckets", "_exact", "_lengths", "is_root")

    def __init__(self, grants: Iterable[Grant], *, is_root: bool = False) -> None:
        self.is_root = is_root
        self._exact: dict[str, Grant] = {}
        self._buckets: dict[str, list[Grant]] = {}
        for grant in grants:
            if grant.is_prefix or grant.segments is not None:
                start = grant.pattern.partition("+")[0] if grant.segments else grant.pattern
                self._buckets.setdefault(start, []).append(grant)
            else:
                self._exact[grant.pattern] = grant
        for bucket in self._buckets.values():
            bucket.sort(key=_rank, reverse=True)
        self._lengths = tuple(sorted({len(start) for start in self._buckets}, reverse=True))

    def require(
        self,
        capability: Capability,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        wrap_ttl: int | None = None,
    ) -> None:
        """Raise PermissionDeniedError unless the policies grant this. ``wrap_ttl`` is in seconds."""
        if self.is_root:
            return
        grant = self._decider(path, is_list=bool(capability & _LISTING))
        if grant is None or not grant.bits & capability:
            raise PermissionDeniedError
        if grant.limits is not None:
            require_wrapping(grant.limits, wrap_ttl)
            if capability & _WITH_PARAMETERS:
                require_parameters(grant.limits, data)

    def require_sudo(self, path: str, *, is_list: bool = False) -> None:
        """Raise PermissionDeniedError unless the rule that decides about the path has ``sudo``."""
        if self.is_root:
            return
        grant = self._decider(path, is_list=is_list)
        if grant is None or not grant.bits & _SUDO:
            raise PermissionDeniedError

    def capabilities(self, path: str) -> list[str]:
        """Names in the alphabet's order: ``["root"]`` for root, ``["deny"]`` where nothing is granted."""
        if self.is_root:
            return [ROOT]
        grant = self._find_grant(path, is_list=True)
        bits = grant.bits if grant is not None else 0
        return _names_of(bits)

    def sees_mount(self, prefix: str) -> bool:
        """Whether any rule grants something at or below the mount path, which ends in a slash."""
        if self.is_root or self.capabilities(prefix) != ["deny"]:
            return True
        if any(_grants(grant) and path.startswith(prefix) for path, grant in self._exact.items()):
            return True
        segments = prefix.strip("/").split("/")
        return any(
            _grants(grant)
            and (grant.pattern.startswith(prefix) if grant.segments is None else grant.sees(segments))
            for bucket in self._buckets.values()
            for grant in bucket
        )

    def _decider(self, path: str, *, is_list: bool) -> Grant | None:
        """The one rule of a request. A listing means what is below, with or without its closing slash."""
        if is_list and not path.endswith("/"):
            path += "/"
        return self._exact.get(path) or self._find_grant(path, is_list=is_list)

    def _find_grant(self, path: str, *, is_list: bool) -> Grant | None:
        found = self._exact.get(path)
        if found is not None:
            return found
        if not is_list:
            return self._find_pattern(path)
        bare = path.removesuffix("/")
        return self._exact.get(bare) or self._find_pattern(path) or self._find_pattern(bare)

    def _find_pattern(self, path: str) -> Grant | None:
        buckets = self._buckets
        for length in self._lengths:
            for grant in buckets.get(path[:length], ()):
                if grant.matches(path):
                    return grant
        return None


def compile_acl(policies: Iterable[Policy], *, expand: Expand | None = None) -> Acl:
    """Return the ACL of these policies; one named ``root`` makes it root's.

    ``expand`` fills templated paths; without it, rules with such paths grant nothing.
    """
    grants: dict[tuple[str, bool], Grant] = {}
    is_root = False
    for policy in policies:
        is_root = is_root or policy.name == ROOT
        for rule in policy.rules:
            path = expand_path(rule.path, expand)
            if path is not None:
                key = (path, rule.is_prefix)
                grants[key] = _add(grants.get(key), path, rule)
    return Acl(grants.values(), is_root=is_root)


def _add(grant: Grant | None, path: str, rule: Rule) -> Grant:
    if grant is None:
        segments = tuple(path.split("/")) if rule.has_wildcards else None
        return Grant(path, rule.capabilities, rule.limits, rule.is_prefix, segments)
    if (grant.bits | rule.capabilities) & _DENY:
        return msgspec.structs.replace(grant, bits=_DENY, limits=None)
    limits = merge_limits(grant.limits, rule.limits)
    return msgspec.structs.replace(grant, bits=grant.bits | rule.capabilities, limits=limits)


def _rank(grant: Grant) -> tuple[bool, int, int, str]:
    wildcards = grant.segments.count("+") if grant.segments else 0
    return not grant.is_prefix, -wildcards, len(grant.pattern), grant.pattern


def _grants(grant: Grant) -> bool:
    return bool(grant.bits & ~_DENY)


def _names_of(bits: int) -> list[str]:
    if not bits & ~_DENY:
        return ["deny"]
    return [name for name, capability in sorted(NAMES.items()) if bits & capability and capability != _DENY]
